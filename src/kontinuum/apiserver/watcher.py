"""One watcher: a bounded queue of events. A watcher that lags is cut off; its client watches again or lists again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from kontinuum.apiserver.events import Event
from kontinuum.apiserver.selection import Selection

Seen = tuple[str, Event]
"""An event and its type for this watcher."""


class Watcher:
    """Filled by the cache, emptied by one reader."""

    def __init__(self, selection: Selection, *, limit: int) -> None:
        self._selection = selection
        self._limit = limit
        self._queue: deque[Seen] = deque()
        self._awake = asyncio.Event()
        self.ended = False
        """No more events will come: it lagged, or the cache had to start anew."""

    def offer(self, event: Event) -> None:
        """Queue the event if the watcher's selection sees it."""
        type_ = event.type_for(self._selection)
        if not type_:
            return
        if len(self._queue) >= self._limit:
            self.end()
            return
        self._queue.append((type_, event))
        self._awake.set()

    def replay(self, events: Iterable[Event]) -> None:
        """Queue events of the past, however many they are: they are held by the cache's history anyway."""
        for event in events:
            type_ = event.type_for(self._selection)
            if type_:
                self._queue.append((type_, event))
        self._limit += len(self._queue)
        if self._queue:
            self._awake.set()

    def end(self) -> None:
        self.ended = True
        self._awake.set()

    async def wait_events(self, seconds: float) -> None:
        """Return when there are events, when the watcher has ended, or after ``seconds``."""
        if self._queue or self.ended or seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._awake.set)
        try:
            await self._awake.wait()
        finally:
            timer.cancel()

    def take(self) -> list[Seen]:
        """Everything that waits, in order."""
        self._awake.clear()
        if self.ended:
            self._awake.set()
        taken = list(self._queue)
        self._queue.clear()
        return taken
