"""A queue of keys: each at most once, never handed to two workers at a time, later if asked, slower after failures."""

from __future__ import annotations

import asyncio
import random
from collections import deque

from kontinuum.foundation.backoff import Backoff

FAILURES = Backoff(initial=0.05, maximum=300.0, jitter=0.1)
PATIENCE = 1.0
"""Seconds by which news of a key that fails are held back at most. Without it, a key whose failing makes news (a child
that is created and collected, again and again) would be worked on as fast as the network allows."""


class KeyQueue:
    """States of a key, and the only moves between them::

        absent ──add──▶ waiting ──get──▶ in work ──done──▶ absent
                                            │ add
                                            ▼
                                     in work, again ──done──▶ waiting

    ``add_after`` adds when its time has come; the earliest of several wishes for one key wins.
    """

    def __init__(self, *, backoff: Backoff = FAILURES, chance: random.Random | None = None) -> None:
        self._backoff = backoff
        self._chance = chance
        self._waiting: dict[str, None] = {}
        self._order: deque[str] = deque()
        self._in_work: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._getters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._waiting)

    def add(self, key: str, *, patience: float = 0.0) -> None:
        """Have the key worked on soon, after ``patience`` seconds; not quite so soon if it failed the last time."""
        failures = self._failures.get(key, 0)
        if failures:
            patience = max(patience, min(PATIENCE, self._backoff.delay(failures - 1, self._chance)))
        if patience:
            self.add_after(key, patience)
        else:
            self._enqueue(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have the key worked on in ``seconds``, unless it is already due earlier."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def retry(self, key: str) -> float:
        """Have a key that failed worked on again, later after each failure; answers the seconds until then."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = self._backoff.delay(failures, self._chance)
        self.add_after(key, seconds)
        return seconds

    def forget_failures(self, key: str) -> None:
        """The key succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key, which is the caller's until it calls ``done``."""
        while not self._order:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._order:
                    # We were woken and cancelled at once: somebody else must take the key.
                    self._wake_one()
                raise
        key = self._order.popleft()
        del self._waiting[key]
        self._in_work.add(key)
        return key

    def done(self, key: str) -> None:
        """The caller of ``get`` has finished; what was added meanwhile becomes due."""
        self._in_work.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Drop every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: str) -> None:
        del self._timers[key]
        self._enqueue(key)

    def _enqueue(self, key: str) -> None:
        if key in self._in_work:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = None
            self._order.append(key)
            self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
