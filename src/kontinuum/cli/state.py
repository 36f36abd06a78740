"""What the supervisor tells others about itself: one JSON file on a tmpfs, replaced at every change."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kontinuum.cli.processes import ProcessId, is_alive
from kontinuum.foundation.files import replace_file


class PartState(msgspec.Struct, frozen=True, kw_only=True):
    """One part. ``since`` is in seconds since the epoch."""

    name: str
    state: str
    pid: int | None
    since: float
    restarts: int
    last_exit: str
    log: str


class PlatformState(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor and its parts."""

    version: str
    pid: int
    started: int
    """Clock ticks since boot: makes ``pid`` unmistakable."""
    since: float
    ready: bool
    address: str
    data_dir: str
    accelerator: str
    vmm: str
    parts: list[PartState]

    @property
    def supervisor(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


def write(file: Path, state: PlatformState) -> None:
    """Readers see the old state or the new one; nothing needs to survive a power cut."""
    replace_file(file, msgspec.json.encode(state), mode=0o600)


def read(file: Path) -> PlatformState | None:
    """The state of a platform whose supervisor lives; None if none runs."""
    try:
        state = msgspec.json.decode(file.read_bytes(), type=PlatformState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return state if is_alive(state.supervisor) else None
