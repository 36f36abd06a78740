"""Pods that wait for a node: the most important first, and those that did not fit not before it makes sense.

absent ──add──▶ active ──pop──▶ in work ──removed──▶ absent
                  ▲                ├─ refused ──▶ unschedulable ──relevant change──┐
                  │                └─ failed ───▶ backing off ◀────────────────────┘
                  └──────────────── its time has come ┘

An unschedulable pod becomes active too when it changes itself, and after a long time in any case.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock


@dataclass(slots=True)
class _Waiting:
    """What is remembered of a pod that failed to find a node."""

    priority: int
    attempts: int = 0
    tried: float = 0.0
    """When it was last looked at, monotonic seconds."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class SchedulingQueue:
    """See the module. A pod is named by its key; used from one event loop."""

    def __init__(self, clock: Clock, backoff: Backoff, *, look_again: float) -> None:
        """``look_again``: seconds after which an unschedulable pod is tried again whatever happened."""
        self._clock = clock
        self._backoff = backoff
        self._look_again = look_again
        self._pods: dict[str, _Waiting] = {}
        self._active: list[tuple[int, int, str]] = []
        self._is_active: set[str] = set()
        self._unschedulable: dict[str, None] = {}
        """In the order of their attempts, so that who waits longest comes first."""
        self._arrivals = itertools.count()
        self._not_empty = asyncio.Event()

    def add(self, key: str, priority: int) -> None:
        """A pod has come, or has changed itself: look at it now."""
        pod = self._pods.setdefault(key, _Waiting(priority))
        pod.priority = priority
        self._activate(key)

    def remove(self, key: str) -> None:
        """The pod needs no node any more."""
        pod = self._pods.pop(key, None)
        if pod is not None and pod.timer is not None:
            pod.timer.cancel()
        self._is_active.discard(key)
        self._unschedulable.pop(key, None)

    async def pop(self) -> str:
        """The most important pod that waits to be looked at; of equals, the one that has waited longest."""
        while True:
            while self._active:
                _, _, key = heapq.heappop(self._active)
                if key in self._is_active:  # else it was removed, or is in the heap twice
                    self._is_active.discard(key)
                    pod = self._pods[key]
                    pod.attempts += 1
                    pod.tried = self._clock.monotonic()
                    return key
            self._not_empty.clear()
            await self._not_empty.wait()

    def refuse(self, key: str) -> None:
        """The pod in work fits nowhere: leave it until something relevant changes.

        Call it before anything else can run: a change between the decision and this would be missed.
        """
        pod = self._pods.get(key)
        if pod is not None and key not in self._is_active:
            self._unschedulable[key] = None
            self._wake_after(key, pod, self._look_again)

    def fail(self, key: str) -> None:
        """The attempt itself failed (the API was away): try again after the back-off."""
        pod = self._pods.get(key)
        if pod is not None and key not in self._is_active:
            self._back_off(key, pod)

    def relevant_change(self) -> None:
        """A node came or changed, or a pod left: who fitted nowhere may fit now."""
        for key in self._unschedulable:
            self._back_off(key, self._pods[key])
        self._unschedulable.clear()

    def _back_off(self, key: str, pod: _Waiting) -> None:
        """Active once the back-off since the last attempt is over, which may be now."""
        due = pod.tried + self._backoff.delay(pod.attempts - 1)
        self._wake_after(key, pod, due - self._clock.monotonic())

    def _wake_after(self, key: str, pod: _Waiting, seconds: float) -> None:
        if pod.timer is not None:
            pod.timer.cancel()
        pod.timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._activate, key)

    def _activate(self, key: str) -> None:
        pod = self._pods[key]
        if pod.timer is not None:
            pod.timer.cancel()
            pod.timer = None
        self._unschedulable.pop(key, None)
        if key not in self._is_active:
            self._is_active.add(key)
            heapq.heappush(self._active, (-pod.priority, next(self._arrivals), key))
            self._not_empty.set()
