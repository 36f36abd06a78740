"""What is current: for each key its newest revision, in key order. About 250 bytes a key; the values stay on disk."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import NamedTuple

from kontinuum.store.keys import end_of
from kontinuum.store.sqlite.rows import Past, Row


class Head(NamedTuple):
    """The newest change of a key that is not deleted."""

    revision: int
    created: int


class Index:
    """The present, as far as the event loop has been told. It lags the disk by at most one hand-over."""

    def __init__(self, heads: dict[str, Head], *, revision: int) -> None:
        self._heads = dict(heads)
        self._keys = sorted(heads)
        self.revision = revision

    def get(self, key: str) -> Head | None:
        return self._heads.get(key)

    def apply(self, rows: Iterable[Row]) -> None:
        """Move to the state after ``rows``, which continue the revisions seen so far."""
        for row in rows:
            self.revision = row.revision
            if row.deleted:
                del self._heads[row.key]
                del self._keys[bisect_left(self._keys, row.key)]
            else:
                if row.previous is None:
                    insort(self._keys, row.key)
                self._heads[row.key] = Head(row.revision, row.created)

    def page(self, prefix: str, *, after: str, limit: int) -> tuple[list[tuple[str, Head]], int]:
        """Keys under ``prefix`` beyond ``after`` with their heads, and how many more there are."""
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        end = bisect_left(self._keys, end_of(prefix))
        stop = min(end, start + limit) if limit else end
        return [(key, self._heads[key]) for key in self._keys[start:stop]], max(0, end - stop)

    def past(self, prefix: str, undone: dict[str, Past]) -> dict[str, Head]:
        """All keys under ``prefix`` as they were before the changes in ``undone``."""
        heads = {key: self._heads[key] for key in self._under(prefix) if key not in undone}
        for key, past in undone.items():
            if past.revision is not None and past.created is not None:
                heads[key] = Head(past.revision, past.created)
        return heads

    def _under(self, prefix: str) -> list[str]:
        return self._keys[bisect_left(self._keys, prefix) : bisect_left(self._keys, end_of(prefix))]
