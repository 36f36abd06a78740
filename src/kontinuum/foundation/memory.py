"""Memory that a process has freed, given back to the system.

An allocator keeps what is freed, to hand it out again: after a hundred connections have come and gone, their buffers
lie between what stays, and count as the process's for ever. glibc gives back whole pages between what is in use, but
only if it is asked to (malloc_trim(3)); other allocators are left alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

WORTH_BYTES = 4 * 1024 * 1024
"""What must have been freed since the last time: asking takes about a millisecond, and using pages again costs too."""


class Allocator(NamedTuple):
    """Two functions of a C library."""

    free_bytes: Callable[[], int]
    """What is free between what is in use, given back or not."""
    trim: Callable[[], object]


class _Usage(ctypes.Structure):
    """``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def glibc() -> Allocator | None:
    """None where the C library is another one, or older than 2.33."""
    library = ctypes.CDLL(None)
    try:
        usage, trim = library.mallinfo2, library.malloc_trim
    except AttributeError:
        return None
    usage.restype, usage.argtypes = _Usage, []
    trim.argtypes = [ctypes.c_size_t]
    return Allocator(lambda: int(usage().fordblks), lambda: trim(0))


class Freed:
    """What has been freed since memory was given back last."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._known = 0

    def look(self) -> None:
        """Give back what is free, if that has become much more since the last time."""
        free = self._allocator.free_bytes()
        if free - self._known >= WORTH_BYTES:
            self._allocator.trim()
            free = self._allocator.free_bytes()
            self._known = free
        else:
            # What was given back is used again, so that it can be given back again.
            self._known = min(self._known, free)
