"""How long requests may take: one timer for all of them, because nearly none ever gets to its deadline.

A timer of each request's own (``asyncio.timeout``) costs as much as finding its route. Here a request pays for a place
in a set. Whoever asks for less than ``PRECISE_SECONDS`` gets a timer; others end up to ``LOOK_SECONDS`` late.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

PRECISE_SECONDS = 5.0
LOOK_SECONDS = 0.5


class Deadlines:
    """Those of the event loop that runs when they are made: to ask which one it is takes a system call each time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[_Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> AbstractContextManager[Any]:
        """Cancels the task that is in the block after ``seconds``; the block then raises TimeoutError."""
        loop = self._loop
        deadline = _Deadline(self._open, loop, loop.time() + seconds)
        if seconds < PRECISE_SECONDS:
            deadline.timer = loop.call_later(seconds, deadline.end)
        elif self._timer is None:
            self._timer = loop.call_later(LOOK_SECONDS, self._look)
        return deadline

    def _look(self) -> None:
        now = self._loop.time()
        for one in [one for one in self._open if one.at <= now]:
            one.end()
        # An idle server has no timer.
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look) if self._open else None


class _Deadline:
    """As ``asyncio.timeout``, which explains the counting of cancellations."""

    __slots__ = ("_cancelling", "_loop", "_open", "_task", "at", "is_over", "timer")

    def __init__(self, open_: set[_Deadline], loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._open = open_
        self._loop = loop
        self.at = at
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None
        """Its own, of one that must be precise."""

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._open.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._task.cancel()
