"""``fsGroup``: a volume's files belong to a group of the pod's, by Kubernetes' rule (``pkg/volume/volume_linux.go``).

Everything in the volume gets the group, and the group may do with it what the owner may; directories hand the group on.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

READ_AND_WRITE, SEARCH, HANDED_ON = 0o660, 0o110, stat.S_ISGID


def give(top: Path, group: int, *, only_on_mismatch: bool) -> None:
    """``only_on_mismatch`` (``fsGroupChangePolicy: OnRootMismatch``): what is right at the top is taken to be right."""
    if only_on_mismatch and is_given(top, group):
        return
    for directory, _, files in os.walk(top):
        give_one(Path(directory), group)
        for name in files:
            give_one(Path(directory, name), group)


def is_given(top: Path, group: int) -> bool:
    """Whether ``top`` itself belongs to the group as ``give`` would leave it."""
    found = top.stat()
    wanted = _wanted(found.st_mode)
    return found.st_gid == group and found.st_mode & wanted == wanted


def give_one(path: Path, group: int) -> None:
    """A link is given, not what it leads to, which may be anybody's."""
    found = path.lstat()
    if found.st_gid != group:
        os.chown(path, -1, group, follow_symlinks=False)
    mode = path.lstat().st_mode  # A change of the group may have taken bits away.
    if not stat.S_ISLNK(mode) and mode & _wanted(mode) != _wanted(mode):
        path.chmod(stat.S_IMODE(mode | _wanted(mode)))


def _wanted(mode: int) -> int:
    return READ_AND_WRITE | SEARCH | HANDED_ON if stat.S_ISDIR(mode) else READ_AND_WRITE
