"""Files that are put before a confined program after it was started, and taken away again.

The program's mount namespace is its own, so nothing that the host mounts shows up there. What it is to see is copied as
a mount (``open_tree``) where we are, and attached where it is, over a file that was shown to it from the start.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

from kontinuum.foundation.errors import Retryable

_OPEN_TREE, _MOVE_MOUNT = 428, 429
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_EMPTY_SOURCE = 4
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXECUTE, _REMOUNT, _BIND = 1, 2, 4, 8, 32, 4096
_DETACH = 2
_HERE = -100
_libc = ctypes.CDLL(None, use_errno=True)


class NotShown(Retryable):
    """The program is gone, or the kernel would not have the mount (it must be Linux 5.2 or later)."""


def cover(pid: int, target: str, file: int, *, read_only: bool) -> None:
    """Let process ``pid`` see the open ``file`` at ``target``, in place of what it saw there. Raises NotShown."""
    restricted = _REMOUNT | _BIND | _NO_SUID | _NO_DEVICES | _NO_EXECUTE | (_READ_ONLY if read_only else 0)
    source = f"/proc/self/fd/{file}".encode()
    tree = _called(_libc.syscall(_OPEN_TREE, _HERE, source, _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC), "copying a mount")
    try:

        def attach() -> None:
            _called(
                _libc.syscall(_MOVE_MOUNT, tree, b"", _HERE, target.encode(), _MOVE_MOUNT_EMPTY_SOURCE),
                f"showing {target}",
            )
            _called(_libc.mount(None, target.encode(), None, restricted, None), f"restricting {target}")

        _within(pid, attach)
    finally:
        os.close(tree)


def uncover(pid: int, target: str) -> None:
    """Let it see again what was there before the last ``cover``. What it has open, it keeps. Raises NotShown."""
    _within(pid, lambda: _called(_libc.umount2(target.encode(), _DETACH), f"taking {target} away"))


def _within(pid: int, do: Callable[[], object]) -> None:
    """Do it in a thread that stands in the program's mount namespace, and ends there."""
    failed: list[OSError] = []

    def enter() -> None:
        try:
            namespace = os.open(Path(f"/proc/{pid}/ns/mnt"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Threads share their root and working directory; one that goes elsewhere must have its own.
                _called(_libc.unshare(_CLONE_FS), "standing alone")
                _called(_libc.setns(namespace, _CLONE_NEWNS), "entering a mount namespace")
            finally:
                os.close(namespace)
            do()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise NotShown(f"process {pid}: {failed[0]}") from failed[0]


def _called(result: int, doing: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")
    return result
