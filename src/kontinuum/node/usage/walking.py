"""How much disk a directory takes, as ``du`` says it: allocated blocks, each file once, one file system."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kontinuum.node.usage.values import Disk

BLOCK = 512
"""The unit of ``st_blocks``, whatever the file system's is."""


def taken(top: Path) -> Disk:
    """What is below ``top``, itself included; nothing if it is not there. What vanishes on the way is left out.

    Symbolic links are not followed, mounts not entered: what a pod has mounted is counted where it comes from.
    """
    try:
        root = os.lstat(top)
    except OSError:
        return Disk()
    size, inodes, linked = root.st_blocks, 1, set[int]()
    if not stat.S_ISDIR(root.st_mode):
        return Disk(size * BLOCK, inodes)
    waiting = [os.fspath(top)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if found.st_dev != root.st_dev:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                elif found.st_nlink > 1:
                    if found.st_ino in linked:
                        continue
                    linked.add(found.st_ino)
                size += found.st_blocks
                inodes += 1
    return Disk(size * BLOCK, inodes)
