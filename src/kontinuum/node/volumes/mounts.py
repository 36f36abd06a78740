"""mount(2), umount2(2), and what is mounted. To help, the agent must run in containerd's mount namespace."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_NOATIME, MS_BIND = 2, 4, 1024, 4096
MNT_DETACH = 2
DEVICE, MOUNT_POINT = 2, 4
"""The fields of /proc/self/mountinfo (proc(5)) that hold the device, as ``major:minor``, and the mount point."""

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: Path, *, size: int = 0, mode: int = 0o755) -> None:
    """Mount a tmpfs of at most ``size`` bytes (0: half of the memory) at ``target``. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def mount_device(device: Path, target: Path, file_system: str) -> None:
    """Mount what is on a block device, for its files alone: no device nodes. Raises OSError."""
    _mount(device, target, file_system, MS_NODEV | MS_NOATIME)


def bind(source: Path, target: Path) -> None:
    """Let the directory ``source`` be seen at ``target`` too. Raises OSError."""
    _mount(source, target, "none", MS_BIND)


def unmount(target: Path) -> None:
    """Detach what is mounted at ``target``; it vanishes when nobody uses it any more. Raises OSError."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), f"unmounting {target}: {os.strerror(ctypes.get_errno())}")


def below(directory: Path) -> list[Path]:
    """Every mount point at or below ``directory``, the deepest first."""
    top = str(directory)
    points = (point for point, _ in _mountinfo() if point == top or point.startswith(top + "/"))
    return sorted(map(Path, points), reverse=True)


def begins(place: Path) -> bool:
    """Whether a file system begins at ``place``. Cheap, because it does not read of all mounts; and blind for a bind
    mount, which is of the same file system as its surroundings.
    """
    try:
        return place.lstat().st_dev != place.parent.lstat().st_dev
    except FileNotFoundError:
        return False


def devices() -> dict[Path, str]:
    """Every mount point, and the device (``major:minor``) that is mounted there."""
    return {Path(point): device for point, device in _mountinfo()}


def _mountinfo() -> Iterator[tuple[str, str]]:
    """Mount points and devices."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        point = words[MOUNT_POINT]
        yield _unescaped(point) if "\\" in point else point, words[DEVICE]


def _mount(source: Path | str, target: Path, file_system: str, flags: int, options: str = "") -> None:
    words = (os.fsencode(source), os.fsencode(target), file_system.encode(), flags, options.encode())
    if _libc.mount(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {source} at {target}: {os.strerror(number)}")


def _unescaped(text: str) -> str:
    """mountinfo writes a space as ``\\040``, as it does with tab, newline and backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
