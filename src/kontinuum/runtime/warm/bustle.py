"""Whether a pod is starting on this host: who starts one holds a lock together with all others who do.

The kernel lets go of it for whoever dies, so that nobody is taken to be starting for ever.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def begin(path: Path) -> int:
    """A pod starts. Answers what to close when it runs (``os.close``). Raises OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def is_alone(lock: int) -> bool:
    """Whether no other starts beside the pod that holds ``lock`` (from ``begin``). Raises OSError."""
    try:
        return _excludes_all(lock)
    finally:
        # A refusal has cost us what we had, too (flock(2)).
        fcntl.flock(lock, fcntl.LOCK_SH)


def is_over(path: Path) -> bool:
    """Whether none starts just now. Raises OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return _excludes_all(lock)
    finally:
        os.close(lock)


def _excludes_all(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
