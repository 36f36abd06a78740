"""From the log to many watchers: each sees every change under its prefix once, in order, without holding up a writer.

A watcher first reads the log, then lives from a bounded buffer that the writer's side fills. A watcher whose buffer
overflows is not lost: it forgets the buffer and goes back to the log, which answers Compacted if it is too late.

        ┌───────────── buffer overflowed ─────────────┐
        ▼                                             │
    catching up (reads the log) ── log is read ──▶ live (reads the buffer)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from kontinuum.store.port import Change

BUFFER = 4096
"""Changes that wait for one watcher: about a second of the fastest writing, and at most some 12 MB of pods."""


class Log(Protocol):
    """What a watcher needs of an engine."""

    def changes(self, prefix: str, after: int) -> tuple[Sequence[Change], int | None]:
        """The next changes under ``prefix`` after a revision, in order, and the revision to go on after.

        That is None when these are all that have been published up to now. Raises Compacted.
        """
        ...


class Subscription:
    """One watcher's buffer."""

    def __init__(self, prefix: str, size: int) -> None:
        self.prefix = prefix
        self.overflowed = False
        self._size = size
        self._buffer: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, change: Change) -> None:
        """Keep a change for the watcher and wake it."""
        if not change.key.startswith(self.prefix) or self.overflowed:
            return
        if len(self._buffer) >= self._size:
            self._buffer.clear()
            self.overflowed = True
        else:
            self._buffer.append(change)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> Change | None:
        """The oldest change that waits, or None."""
        return self._buffer.popleft() if self._buffer else None

    def restart(self) -> None:
        """Begin to collect again after an overflow."""
        self._buffer.clear()
        self.overflowed = False

    async def wait_offered(self) -> None:
        """Return when a change waits or the buffer has overflowed."""
        if self._buffer or self.overflowed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Broadcast:
    """All watchers of one store. Used from one event loop only."""

    def __init__(self, buffer: int = BUFFER) -> None:
        self._buffer = buffer
        self._subscriptions: set[Subscription] = set()

    def publish(self, changes: Iterable[Change]) -> None:
        """Offer changes, which the log already holds, to every watcher. Never waits."""
        for change in changes:
            for subscription in self._subscriptions:
                subscription.offer(change)

    async def follow(self, log: Log, prefix: str, after: int) -> AsyncIterator[Change]:
        """The watch itself; see ``Store.watch``."""
        subscription = Subscription(prefix, self._buffer)
        self._subscriptions.add(subscription)
        try:
            position, unread = after, True
            while True:
                while unread or subscription.overflowed:
                    # Emptied and read in one step: the buffer then holds just what comes after the page.
                    subscription.restart()
                    changes, resume = log.changes(prefix, position)
                    for change in changes:
                        position = change.revision
                        yield change
                    position, unread = resume or position, resume is not None
                    await asyncio.sleep(0)  # a long history must not keep the loop from its other work
                await subscription.wait_offered()
                while (live := subscription.take()) is not None:
                    position = live.revision
                    yield live
        finally:
            self._subscriptions.discard(subscription)
