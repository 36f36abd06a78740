"""``kontinuum backup``: everything that is stored at one moment, in one file. Servers go on working."""

from __future__ import annotations

from pathlib import Path

from kontinuum.cli.progress import Progress
from kontinuum.cli.settings import Settings
from kontinuum.cli.stores import source_of
from kontinuum.cli.version import version
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.store.archive import ArchiveWriter
from kontinuum.store.transfer import carry


async def backup(settings: Settings, file: Path, *, force: bool, clock: Clock) -> None:
    """Write ``file``. Raises Occupied, Unreadable, StoreFull, and what the store raises; then there is no file."""
    writer = ArchiveWriter(file, replace=force, written=rfc3339(clock.time()), writer=version())
    with writer:
        async with source_of(settings) as source:
            with Progress("backing up", source.count, clock) as progress:
                await carry(source, writer, progress)
    print(f"{source.count:,} objects at revision {source.revision} are in {file} ({writer.size / 1e6:.1f} MB).")
