"""How far a shutdown has come, in a file, for whoever has asked for it: ``{"pid": 7, "left": 3, "over": false}``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.files import replace_file
from kontinuum.node.shutdown.leaving import Shutdown

TELL_SECONDS = 0.2


class Progress(msgspec.Struct, frozen=True):
    pid: int
    """The agent's."""
    left: int
    """Pods of which something runs."""
    over: bool


async def tell(shutdown: Shutdown, clock: Clock, file: Path) -> None:
    """Until cancelled."""
    file.unlink(missing_ok=True)
    while True:
        await shutdown.wait_announced()
        while shutdown.is_leaving:
            told = Progress(os.getpid(), shutdown.left, shutdown.is_over)
            replace_file(file, msgspec.json.encode(told), mode=0o600)
            await clock.sleep(TELL_SECONDS)


def read(file: Path) -> Progress | None:
    """None if no shutdown has begun."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
