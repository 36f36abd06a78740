"""This node's PersistentVolumes of ``kontinuum.dev/host-path``: directories, made when used, erased when told."""

from __future__ import annotations

import shutil
from pathlib import Path

from kontinuum.foundation.errors import Refused

MODE = 0o777
"""Whoever the pod's processes are, they may write: as for emptyDir."""


class NotAVolume(Refused):
    """What is to be erased is no volume of ours."""


def prepare(place: Path) -> None:
    """Make the directory; one that is there already stays as it is."""
    if place.is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(MODE)


def erase(root: Path, name: str) -> None:
    """Remove one volume's directory and all that is in it; one that is gone already is no error.

    Raises NotAVolume for a name that leads anywhere else, and OSError if something cannot be removed.
    """
    place, gone = root / name, root / f".erasing-{name}"
    if not name or name.startswith(".") or "/" in name or place.is_symlink():
        raise NotAVolume(f"erasing {name!r}: it names no directory of {root}")
    # Renamed first: a half-removed volume must never be taken for a whole one.
    if place.exists() and not gone.exists():
        place.rename(gone)
    for left in (gone, place):
        if left.exists():
            shutil.rmtree(left)
