"""Keeps containers' logs from filling the disk: a log that grew too large gets a time stamp, and a new one begins.

0.log ─▶ 0.log.20260102-030405 ... the oldest go first. The runtime then opens 0.log again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import structlog

from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.port import ContainerRuntime

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0


async def rotate(
    runtime: ContainerRuntime, container_id: str, path: Path, *, max_size: int, max_files: int, now: float
) -> bool:
    """Rotate the log at ``path`` if it is larger than ``max_size`` bytes; answers whether it was."""
    try:
        if path.stat().st_size <= max_size:
            return False
    except FileNotFoundError:
        return False
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    rotated = path.rename(path.with_name(f"{path.name}.{stamp}"))
    try:
        await runtime.reopen_log(container_id)
    except KontinuumError as error:
        # The runtime still writes to the old file: give it its name back, or the lines would be lost to readers.
        rotated.rename(path)
        log.warning("a container's log cannot be rotated", path=str(path), error=str(error))
        return False
    for old in older_than_kept(path, max_files):
        old.unlink(missing_ok=True)
    return True


def older_than_kept(path: Path, max_files: int) -> list[Path]:
    """The rotated files of the log ``path`` beyond the newest ``max_files - 1``."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), reverse=True)
    return rotated[max(0, max_files - 1) :]
