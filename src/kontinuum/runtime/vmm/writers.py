"""Who writes to a disk: one machine at a time, by a lock (flock(2)) that whoever has the disk open holds."""

from __future__ import annotations

import fcntl
from pathlib import Path

from kontinuum.runtime.vmm.port import DiskInUse


def lock(file: int, image: Path) -> None:
    """Held through every copy of the open file ``file`` until the last is closed. Raises DiskInUse."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DiskInUse(f"{image} is in use by another pod; a machine needs a disk that it writes to alone") from error
