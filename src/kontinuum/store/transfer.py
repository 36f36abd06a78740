"""Carrying everything that is stored at one moment to somewhere else: a backup, a restore, a copy.

    source: SQLite ┐                    ┌ target: SQLite
            etcd   ├──▶ items, once ──▶ ┤         etcd
            backup ┘                    └         backup

A target is as it was until ``commit``, and then it holds all of it. What it held before is gone, so its revisions begin
beyond every revision that anybody may have seen: a client that comes with an old one is told that it is too old, and
never takes what is there now for what it knew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from kontinuum.foundation.errors import Broken, Refused

LEAP = 1_000_000_000
"""How far revisions leap. A backup does not know how far its store has gone since: this is a year of 30 writes each
second. (What etcd's own restore is told by ``--bump-revision``, and with the number that its documentation uses.)"""
BATCH_ITEMS = 100
BATCH_BYTES = 512 * 1024
"""What is carried in one step: etcd takes at most 128 operations and 1.5 MiB in one transaction."""


class Occupied(Refused):
    """The target holds something already, and nobody said that it may be replaced."""


class Incomplete(Broken):
    """The source gave another number of items than it had announced; the target is as it was."""


class Item(NamedTuple):
    """A value under its key."""

    key: str
    value: bytes


class Source(Protocol):
    """Everything as it was at ``revision``."""

    @property
    def revision(self) -> int: ...

    @property
    def count(self) -> int:
        """How many items there are."""
        ...

    def items(self) -> AsyncIterator[Sequence[Item]]:
        """All of them, once, in the order of their keys, in batches."""
        ...


class Target(Protocol):
    """What is given to a target becomes visible by ``commit``, all at once; without it, never."""

    @property
    def kept(self) -> Path | None:
        """The file in which what was replaced is kept; None if nothing is."""
        ...

    async def begin(self, *, revision: int, count: int) -> None:
        """What will come: ``count`` items of a store that was at ``revision``. Raises StoreFull ..."""
        ...

    async def add(self, items: Sequence[Item]) -> None: ...

    async def commit(self) -> None:
        """Make it durable, then visible."""
        ...


async def carry(source: Source, target: Target, tell: Callable[[int], None]) -> None:
    """Everything from ``source`` to ``target``; ``tell`` hears how many items have been carried. Raises Incomplete."""
    await target.begin(revision=source.revision, count=source.count)
    done = 0
    async for items in source.items():
        await target.add(items)
        done += len(items)
        tell(done)
        await asyncio.sleep(0)  # who interrupts us need not wait for the last item
    if done != source.count:
        raise Incomplete(f"{done} of {source.count} items were found; the source has changed or is damaged")
    await target.commit()


class Batches:
    """Gathers items into batches of a bearable size."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._bytes = 0

    def add(self, item: Item) -> Sequence[Item]:
        """The batch that is full without ``item``, which begins the next one; mostly there is none yet."""
        full: Sequence[Item] = ()
        size = len(item.key) + len(item.value)
        if self._items and (len(self._items) >= BATCH_ITEMS or self._bytes + size > BATCH_BYTES):
            full = self.rest()
        self._items.append(item)
        self._bytes += size
        return full

    def rest(self) -> Sequence[Item]:
        """What has been gathered since the last full batch."""
        items, self._items, self._bytes = self._items, [], 0
        return items
