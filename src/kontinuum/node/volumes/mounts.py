"""mount(2), umount2(2), and what is mounted. To help, the agent must run in containerd's mount namespace."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_NOSUID, MS_NODEV = 2, 4
MNT_DETACH = 2
MOUNT_POINT = 4
"""The field of /proc/self/mountinfo (proc(5)) that holds the mount point."""

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: Path, *, size: int = 0, mode: int = 0o755) -> None:
    """Mount a tmpfs of at most ``size`` bytes (0: half of the memory) at ``target``. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    result = _libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())
    if result != 0:
        raise OSError(ctypes.get_errno(), f"mounting a tmpfs at {target}: {os.strerror(ctypes.get_errno())}")


def unmount(target: Path) -> None:
    """Detach what is mounted at ``target``; it vanishes when nobody uses it any more. Raises OSError."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), f"unmounting {target}: {os.strerror(ctypes.get_errno())}")


def below(directory: Path) -> list[Path]:
    """Every mount point at or below ``directory``, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (Path(_unescaped(line.split()[MOUNT_POINT])) for line in lines)
    return sorted((point for point in points if point.is_relative_to(directory)), reverse=True)


def _unescaped(text: str) -> str:
    """mountinfo writes a space as ``\\040``, as it does with tab, newline and backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
