"""Lists of the past, for those who read them page by page: what was there is found out once, not for each page.

The first page of a long list shows the present, and by the second something has changed. To undo what has changed since
takes longer the longer somebody reads, and a list that is read while much is written would never come to its end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

LISTS = 8
"""Are remembered at the same time; some 60 bytes for each key in them."""


class Pasts(Generic[T]):
    """By prefix and revision: what stood under each key. Whether that revision is kept is the engine's to know."""

    def __init__(self) -> None:
        self._lists: dict[tuple[str, int], tuple[list[str], Mapping[str, T]]] = {}

    def page(
        self, prefix: str, revision: int, make: Callable[[], Mapping[str, T]], *, after: str, limit: int
    ) -> tuple[list[tuple[str, T]], int]:
        """Keys beyond ``after`` with what stood there, at most ``limit`` (0: all), and how many more there were.

        ``make`` answers all that stood under the prefix at that revision.
        """
        keys, found = self._list((prefix, revision), make)
        start = bisect_right(keys, after)
        stop = min(len(keys), start + limit) if limit else len(keys)
        if stop == len(keys):
            # Read to its end. Another reader of the same list has it made again.
            self._lists.pop((prefix, revision), None)
        return [(key, found[key]) for key in keys[start:stop]], len(keys) - stop

    def forget(self, before: int) -> None:
        """Nobody may ask for older revisions any more."""
        self._lists = {which: made for which, made in self._lists.items() if which[1] >= before}

    def _list(
        self, which: tuple[str, int], make: Callable[[], Mapping[str, T]]
    ) -> tuple[list[str], Mapping[str, T]]:  # fmt: skip
        # Who is asked for stands last: those whose readers have left come to the front.
        made = self._lists.pop(which, None)
        if made is None:
            found = make()
            made = sorted(found), found
            while len(self._lists) >= LISTS:
                del self._lists[next(iter(self._lists))]
        self._lists[which] = made
        return made
