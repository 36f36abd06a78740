"""The log files of the parts."""

from __future__ import annotations

import os
from pathlib import Path

LARGEST_LOG = 16 << 20
"""Bytes; a longer log is moved aside when its part starts."""


def open_log(file: Path) -> int:
    """A descriptor that appends to ``file``; what has grown long is kept once, as ``FILE.1``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LARGEST_LOG:
        file.replace(file.with_name(f"{file.name}.1"))
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
