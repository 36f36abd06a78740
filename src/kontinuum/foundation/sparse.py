"""Files with holes: what is not there takes no space, nor time to copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_CHUNK = 1 << 20
_NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP)
"""Between two file systems, before Linux 5.3 or after 5.18, it does not copy by itself."""


def copy(source: int, target: int) -> None:
    """Make the empty file ``target`` (both are descriptors) as long as ``source``, with the same data and holes.

    Raises OSError.
    """
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for start, end in pieces(source, size):
        _copy_piece(source, target, start, end)


def pieces(file: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of all that is not a hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but a hole is left
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


def _copy_piece(source: int, target: int, start: int, end: int) -> None:
    try:
        # Some file systems say that they have copied nothing where they mean that they cannot.
        while start < end and (copied := os.copy_file_range(source, target, end - start, start, start)):
            start += copied
    except OSError as error:
        if error.errno not in _NOT_BY_THE_KERNEL:
            raise
    while start < end:
        data = os.pread(source, min(_CHUNK, end - start), start)
        if not data:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        start += os.pwrite(target, data, start)
