"""The victim of ``test_kill``: eight clients write for ever, and say what was acknowledged on standard output.

Each line is written by one write(2) after the store has answered: whatever the parent reads was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from kontinuum.store.sqlite import SqliteStore


async def main(path: Path) -> None:
    store = await SqliteStore.open(path, history=500)
    print(f"opened {await store.revision()}", flush=True)

    async def client(number: int) -> None:
        turn = 0
        while True:
            key = f"pods/{os.getpid()}-{number}/{turn}"
            record = await store.create(key, b"1")
            say("created", record.revision, key)
            record = await store.update(key, b"2" * 200, expected=record.revision)
            say("updated", record.revision, key)
            if turn % 2:
                record = await store.delete(key, expected=record.revision)
                say("deleted", record.revision, key)
            turn += 1

    def say(what: str, revision: int, key: str) -> None:
        os.write(1, f"{what} {revision} {key}\n".encode())

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(client(number))


asyncio.run(main(Path(sys.argv[1])))
