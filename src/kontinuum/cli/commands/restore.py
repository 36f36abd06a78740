"""``kontinuum restore``: makes a store what it was when a backup was taken, or looks whether a backup is whole."""

from __future__ import annotations

from pathlib import Path

from kontinuum.cli.progress import Progress
from kontinuum.cli.settings import Settings
from kontinuum.cli.stores import target_of
from kontinuum.foundation.clock import Clock
from kontinuum.store.archive import Header, read_archive
from kontinuum.store.transfer import carry


async def restore(settings: Settings, file: Path, *, force: bool, clock: Clock) -> None:
    """Fill the store. Raises NotABackup, Unreadable, Occupied, and what the store raises; then it is as it was."""
    with read_archive(file) as archive:
        async with target_of(settings, force=force) as target:
            with Progress("restoring", archive.count, clock) as progress:
                await carry(archive, target, progress)
    print(f"Restored {_described(archive.header)}.")
    if target.kept is not None:
        print(f"What was stored before is kept in {target.kept}; remove it when nobody needs it.")


def check(file: Path) -> None:
    """Say what is in a backup that is whole. Raises NotABackup, Unreadable."""
    with read_archive(file) as archive:
        print(f"{file} is whole: {_described(archive.header)}, by version {archive.header.writer}.")


def _described(header: Header) -> str:
    return f"{header.count:,} objects at revision {header.revision}, written {header.written}"
