"""Where a simulation keeps its data: a directory that ends with it, or, if it was killed, when the next one begins.

    TMPDIR/kontinuum-simulation-XXXXXXXX/lock    held (flock(2)) by every process of the simulation
    TMPDIR/kontinuum-simulation-XXXXXXXX/data    the data directory; what is outside it follows from its name

The kernel lets go of the lock with the last process that has it, whatever has ended that one: whoever gets the lock
knows that nobody uses the directory any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kontinuum.cli.installation import Installation

PREFIX = "kontinuum-simulation-"
LOCK, DATA = "lock", "data"


@contextmanager
def scratch() -> Iterator[tuple[Path, int]]:
    """A data directory, not made yet, and the open lock: to be passed on to every process that uses the directory.

    All of it is gone after the block, and what simulations that were killed have left. Raises OSError.
    """
    sweep(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    # Under its name it is locked from the beginning: who finds it there and free knows that its owner has ended.
    unnamed = directory / f".{LOCK}"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(directory / LOCK)
        yield directory / DATA, lock
    finally:
        _remove(directory)
        os.close(lock)


def sweep(place: Path) -> None:
    """Remove the directories of simulations that were killed, and nothing that is in use or somebody else's."""
    for directory in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # It is gone, or has no lock that is ours.
            status = directory.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(directory)
            finally:
                os.close(lock)


def remove_outside(data: Path) -> None:
    """What an installation keeps outside its data directory."""
    paths = Installation.at(data)
    for outside in (paths.run, paths.templates):
        shutil.rmtree(outside, ignore_errors=True)


def _remove(directory: Path) -> None:
    """The lock last: what is left of this, if it is cut off, is found by the next."""
    remove_outside(directory / DATA)
    shutil.rmtree(directory / DATA, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
