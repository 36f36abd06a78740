"""Memory is given back when much has become free, and not over and over."""

from __future__ import annotations

from kontinuum.foundation.memory import WORTH_BYTES, Allocator, Freed, glibc


class Heap:
    """An allocator whose freed bytes the test says."""

    def __init__(self) -> None:
        self.free = 0
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1


def test_memory_is_given_back_each_time_much_has_become_free() -> None:
    heap = Heap()
    freed = Freed(Allocator(lambda: heap.free, heap.trim))

    def trims_after(free: float) -> int:
        heap.free = int(free * WORTH_BYTES)
        freed.look()
        return heap.trims

    assert [trims_after(free) for free in (0.9, 1, 1, 1.9, 2.5)] == [0, 1, 1, 1, 2]
    # What has been given back is used again, and freed again.
    assert [trims_after(free) for free in (0.5, 1.4, 1.5)] == [2, 2, 3]


def test_glibc_says_what_is_free_and_gives_it_back() -> None:
    allocator = glibc()
    if allocator is not None:  # Another C library keeps what it keeps.
        assert allocator.free_bytes() > 0
        allocator.trim()
