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
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False
        """No more events will come: it lagged, or the cache had to start anew."""

    def offer(self, event: Event) -> None:
        """Queue the event if the watcher's selection sees it; ``wake`` comes after the last one that is there."""
        type_ = event.type_for(self._selection)
        if not type_:
            return
        if len(self._queue) >= self._limit:
            self.end()
            return
        self._queue.append((type_, event))

    def wake(self) -> None:
        """Let the reader go on, if there is anything to read."""
        if self._queue:
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait_events(self, seconds: float) -> None:
        """Return when there are events, when the watcher has ended, or after ``seconds``; sometimes sooner."""
        if self.ended or seconds <= 0:
            return
        self._set_alarm(seconds)
        await self._awake.wait()

    def _set_alarm(self, seconds: float) -> None:
        """A busy watcher waits a thousand times a second: the alarm of one wait serves the next ones too."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self._awake.set()

    def take(self) -> list[Seen]:
        """Everything that waits, in order."""
        self._awake.clear()
        if self.ended:
            self._awake.set()
        taken = list(self._queue)
        self._queue.clear()
        return taken
