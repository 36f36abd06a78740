"""A file as a block device of this machine (loop(4)), for as long as it is mounted."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONTROL = Path("/dev/loop-control")
# linux/loop.h
_GET_FREE, _CONFIGURE, _SET_CAPACITY, _CLEAR = 0x4C82, 0x4C0A, 0x4C07, 0x4C01
_AUTOCLEAR, _DIRECT_IO = 4, 16
_CONFIGURATION = struct.Struct("=II 52x I 176x 64x")
"""struct loop_config: the file, the block size, of its loop_info64 the flags alone, and what is reserved."""
_MAJOR = 7
SECTOR_BYTES = 512
_ATTEMPTS = 64
"""Between asking for a free device and taking it somebody else may take it."""


@contextmanager
def attached(file: int, *, for_good: bool = False) -> Iterator[Path]:
    """The device that shows the open ``file``. It goes when nobody has it open or mounted any more, or by ``detach``.

    The kernel keeps the very file that was given, and with it whatever flock(2) is held through it. Raises OSError.
    """
    flags = _DIRECT_IO | (0 if for_good else _AUTOCLEAR)
    for _ in range(_ATTEMPTS):
        with CONTROL.open("rb", buffering=0) as control:
            number = fcntl.ioctl(control, _GET_FREE)
        path = Path(f"/dev/loop{number}")
        if not path.exists():
            os.mknod(path, 0o600 | 0o060000, os.makedev(_MAJOR, number))
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _CONFIGURE, _CONFIGURATION.pack(file, 0, flags))
            yield path
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        finally:
            os.close(device)
    raise OSError(errno.EBUSY, f"no loop device was free {_ATTEMPTS} times")


def showing(file: Path) -> Path | None:
    """The device that shows the file; None if none does."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # It has just gone.
            if backing.read_text().rstrip("\n") == str(file):
                return Path("/dev") / backing.parts[3]
    return None


def sectors(device: Path) -> int:
    """How large the device is. Raises OSError."""
    return int(Path("/sys/block", device.name, "size").read_text())


def detach(device: Path) -> None:
    """Take the file from the device, as soon as nobody has it open. Raises OSError."""
    with device.open("rb", buffering=0) as file:
        fcntl.ioctl(file, _CLEAR)


def see_new_size(device: Path) -> None:
    """The file behind the device has grown. Raises OSError."""
    with device.open("rb", buffering=0) as file:
        fcntl.ioctl(file, _SET_CAPACITY)
