"""Keeps containers' logs from filling the disk: a log that grew too large gets a time stamp, and a new one begins.

0.log ─▶ 0.log.20260102-030405 ... the oldest go first. The runtime then opens 0.log again.

A log that grows fast is looked at often, or a container that writes 100 MB/s would fill a hundred times its share of
the disk between two looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.port import ContainerRuntime

log = structlog.get_logger(__name__)

FIRST_SECONDS = 1.0
"""A container that has just begun has not shown yet how much it writes."""
MOST_SECONDS = 10.0
"""As the kubelet's, for logs that grow slowly."""
LEAST_SECONDS = 0.25


def pause(room: int, grown: int, seconds: float) -> float:
    """How long a log may be left alone that has ``room`` for so many bytes and grew by ``grown`` within ``seconds``."""
    return min(MOST_SECONDS, max(LEAST_SECONDS, room * seconds / grown)) if grown > 0 else MOST_SECONDS


class Logs:
    """The logs of one pod's containers, and how large each was when it was last looked at."""

    def __init__(self, runtime: ContainerRuntime, max_size: int, max_files: int) -> None:
        self._runtime = runtime
        self._max_size = max_size
        self._max_files = max_files
        self._sizes: dict[str, int] = {}

    async def look(self, running: Mapping[str, Path], *, after: float, now: float) -> float:
        """Rotate what has grown too large of ``running``, by container id; answers when to look again, in seconds.

        ``after``: seconds since the last look.
        """
        before, self._sizes = self._sizes, {}
        pauses = [MOST_SECONDS]
        for container_id, path in running.items():
            size = path.stat().st_size if path.exists() else 0
            is_rotated = await rotate(
                self._runtime, container_id, path, max_size=self._max_size, max_files=self._max_files, now=now
            )
            self._sizes[container_id] = 0 if is_rotated else size
            room = self._max_size - self._sizes[container_id]
            pauses.append(pause(room, size - before.get(container_id, 0), after))
        return min(pauses)


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
    rotated = path.rename(_free_name(path, f"{path.name}.{stamp}"))
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


def _free_name(path: Path, name: str) -> Path:
    """Several in one second must not replace each other."""
    wanted, number = path.with_name(name), 1
    while wanted.exists():
        number += 1
        wanted = path.with_name(f"{name}-{number}")
    return wanted


def older_than_kept(path: Path, max_files: int) -> list[Path]:
    """The rotated files of the log ``path`` beyond the newest ``max_files - 1``."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), reverse=True)
    return rotated[max(0, max_files - 1) :]
