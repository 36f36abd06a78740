"""What a store must do. Small enough that SQLite, memory and etcd v3 all fit without pretending.

A store keeps bytes under keys and gives every change the next revision: one global, strictly increasing, gapless-enough
counter (never reused, also not after a crash). Keys are ``/``-separated text; a prefix ends in ``/``.
A value never contains its own revision: the API server splices ``resourceVersion`` in when it reads, because
etcd cannot know a revision before the transaction that creates it.

Every write that returns has been made durable (for engines that have a disk).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from kontinuum.foundation.errors import Broken, Refused, Retryable


class AlreadyExists(Refused):
    """``create`` found a value under the key."""


class Missing(Refused):
    """``update`` or ``delete`` found no value under the key."""


class StaleRevision(Refused):
    """The value under the key has changed since ``expected``; ``current`` is its revision now."""

    def __init__(self, message: str, *, current: int) -> None:
        super().__init__(message)
        self.current = current


class Compacted(Refused):
    """The revision asked for is older than the history that is kept; list again. ``oldest`` can still be asked for."""

    def __init__(self, message: str, *, oldest: int) -> None:
        super().__init__(message)
        self.oldest = oldest


class FutureRevision(Retryable):
    """The revision asked for has not happened yet."""


class ValueTooLarge(Refused):
    """The engine does not take values of this size; nothing was changed."""


class StoreFull(Broken):
    """No space left for the write; nothing was changed. Reads go on, and writes work again when there is space."""


class StoreUnavailable(Retryable):
    """The engine does not answer. The outcome of a write that raised this is unknown."""


@dataclass(frozen=True, slots=True)
class Record:
    """One value as it was at one revision."""

    key: str
    value: bytes
    created: int
    """Revision of the change that created this key (this incarnation of it)."""
    revision: int
    """Revision of the change that wrote this value."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a prefix, in key order, as it stood at ``revision``."""

    records: tuple[Record, ...]
    revision: int
    remaining: int
    """How many keys of the prefix follow the last record; 0 on the last page."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the log. A deletion's ``value`` is the last one that there was."""

    key: str
    revision: int
    value: bytes
    deleted: bool
    created: int


class Store(Protocol):
    """See the module. Implementations are safe to call from many tasks of one event loop.

    A write whose caller is cancelled while it waits happens whole or not at all; the next read tells which.
    """

    async def create(self, key: str, value: bytes) -> Record:
        """Write a new key. Raises AlreadyExists, StoreFull, StoreUnavailable."""
        ...

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        """Replace the value if its revision is still ``expected``.

        Raises Missing, StaleRevision, StoreFull, StoreUnavailable.
        """
        ...

    async def delete(self, key: str, *, expected: int) -> Record:
        """Remove the key if its revision is still ``expected``; answers the last value with the *deletion's* revision.

        Raises Missing, StaleRevision, StoreFull, StoreUnavailable.
        """
        ...

    async def get(self, key: str) -> Record | None:
        """The current value (linearizable), or None."""
        ...

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        """Keys under ``prefix`` greater than ``after``, at most ``limit`` (0: all), as of ``revision`` (0: now).

        Raises Compacted, FutureRevision.
        """
        ...

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        """Every change under ``prefix`` with a revision greater than ``after``, each once, in order, for ever.

        Raises Compacted (also later, if the reader falls behind compaction).
        """
        ...

    async def revision(self) -> int:
        """The revision of the last change; 0 in an empty store."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``: it can still be listed and watched after, and is then the oldest.

        Current values are kept. Going back is harmless. Raises FutureRevision, StoreFull, StoreUnavailable.
        """
        ...

    async def close(self) -> None:
        """Finish what is in flight and let go of files and connections."""
        ...
