"""Durable commits a second of the SQLite store, against SQLite alone on the same disk in the same minute.

    python -m benchmarks.store [SECONDS]

Each client creates an object of 1 KB and updates it, waiting for each answer, as an API server's request does. SQLite
alone is the same statements with nothing around them: one commit for each write, and one for 64 writes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine, percentile
from kontinuum.store.sqlite import SqliteStore
from kontinuum.store.sqlite.database import open_database
from kontinuum.store.sqlite.rows import Row, append

VALUE = b"x" * 1024
TOGETHER = 64


async def measure(clients: int, seconds: float, directory: Path) -> float:
    """Commits a second with so many clients; prints the line."""
    store = await SqliteStore.open(directory / f"store-{clients}.db")
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        turn = 0
        while time.perf_counter() < end:
            began = time.perf_counter()
            record = await store.create(f"pods/{number}/{turn}", VALUE)
            between = time.perf_counter()
            await store.update(record.key, VALUE, expected=record.revision)
            waits.extend((between - began, time.perf_counter() - between))
            turn += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    rate = len(waits) / seconds
    spread = f"p50 {1000 * percentile(waits, 0.5):.2f} ms, p99 {1000 * percentile(waits, 0.99):.2f} ms"
    print(f"{clients} clients: {rate:.0f} durable commits/s ({spread}, n={len(waits)})", flush=True)
    await store.close()
    return rate


def measure_alone(together: int, seconds: float, directory: Path) -> float:
    """Writes a second of SQLite with ``together`` writes in each commit."""
    database = open_database(directory / f"alone-{together}.db", quota_bytes=0)
    end, revision = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        rows = [
            Row(revision + n, f"pods/{revision + n}", revision + n, None, False, VALUE) for n in range(1, together + 1)
        ]
        database.writer.execute("BEGIN IMMEDIATE")
        append(database.writer, rows)
        database.writer.execute("COMMIT")
        revision += together
    database.close()
    return revision / seconds


async def measure_reads(directory: Path, seconds: float) -> None:
    """``get`` of random-ish keys among 20,000."""
    store = await SqliteStore.open(directory / "reads.db")
    for start in range(0, 20_000, 500):
        await asyncio.gather(*(store.create(f"pods/{n}", VALUE * 3) for n in range(start, start + 500)))
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        await store.get(f"pods/{count * 7919 % 20_000}")
        count += 1
    began = time.perf_counter()
    await store.list("pods/")
    listed = time.perf_counter() - began
    print(
        f"get among 20,000 keys of 3 KB: {1e6 * seconds / count:.1f} µs; list of all: {1000 * listed:.0f} ms",
        flush=True,
    )
    await store.close()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory(prefix="kontinuum-bench-store-", dir=Path.home()) as name:
        directory = Path(name)
        machine("SQLite store: durable commits of 1 KB objects, create then update")
        alone = {together: measure_alone(together, seconds, directory) for together in (1, TOGETHER)}
        for together, rate in alone.items():
            print(f"SQLite alone, {together} to a commit: {rate:.0f} writes/s", flush=True)
        for clients in (1, 16, 64, 128):
            rate = asyncio.run(measure(clients, seconds, directory))
            ratios = ", ".join(
                f"{rate / reference:.2f} of {together} to a commit" for together, reference in alone.items()
            )
            print(f"  ratio to SQLite alone: {ratios}", flush=True)
        asyncio.run(measure_reads(directory, seconds))


if __name__ == "__main__":
    main()
