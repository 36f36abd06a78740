"""Pods that wait for a node: the most important first, and those that did not fit not before it makes sense.

absent ──add──▶ active ──pop──▶ in work ──removed──▶ absent
                  ▲                ├─ refused ──▶ unschedulable ──an event that helps──┐
                  │                └─ failed ───▶ backing off ◀────────────────────────┘
                  └──────────────── its time has come ┘

An unschedulable pod remembers which plugins refused it, and only an event that can help one of them (``hints``) moves
it. It becomes active too when it changes itself, and after a long time in any case. Pods that are alike and were
refused alike wait in one bucket, so that an event costs one look a bucket, not one a pod.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler.events import Event
from kontinuum.scheduler.flood import Flood
from kontinuum.scheduler.hints import HINTS, Cluster, Hint, Waiter


@dataclass(slots=True)
class _Waiting:
    """What is remembered of a pod that failed to find a node."""

    priority: int
    attempts: int = 0
    tried: float = 0.0
    """When it was last looked at, monotonic seconds."""
    bucket: _Bucket | None = None
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Bucket:
    """Unschedulable pods that are alike, in the order of their attempts."""

    waiter: Waiter
    plugins: frozenset[str]
    keys: dict[str, None] = field(default_factory=dict)


class SchedulingQueue:
    """See the module. A pod is named by its key; used from one event loop."""

    def __init__(
        self,
        clock: Clock,
        backoff: Backoff,
        *,
        look_again: float,
        flood_seconds: float = 0.0,
        hints: Mapping[str, Hint] = HINTS,
    ) -> None:
        """``look_again``: seconds after which an unschedulable pod is tried again whatever happened.

        ``flood_seconds``: for how long many that come together are let come, at most.
        """
        self._clock = clock
        self._flood = Flood(flood_seconds)
        self._backoff = backoff
        self._look_again = look_again
        self._hints = hints
        self._pods: dict[str, _Waiting] = {}
        self._active: list[tuple[int, int, str]] = []
        self._is_active: set[str] = set()
        self._buckets: dict[Hashable, _Bucket] = {}
        self._arrivals = itertools.count()
        self._not_empty = asyncio.Event()

    def add(self, key: str, priority: int) -> None:
        """A pod has come, or has changed itself: look at it now."""
        if key not in self._pods:
            self._flood.came(self._clock.monotonic())
        pod = self._pods.setdefault(key, _Waiting(priority))
        if priority != pod.priority:
            pod.priority = priority
            self._is_active.discard(key)  # its entry in the heap has the wrong place
        self._activate(key)

    def remove(self, key: str) -> None:
        """The pod needs no node any more."""
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._leave(key, pod)
        self._is_active.discard(key)

    async def wait_active(self) -> None:
        """Wait until it may be somebody's turn, and until many that come together have come (see ``flood``)."""
        await self._not_empty.wait()
        while seconds := self._flood.wait(self._clock.monotonic()):
            await self._clock.sleep(seconds)

    def pop(self) -> str | None:
        """The most important pod that waits to be looked at; of equals, the one that has waited longest.

        None if nobody does.
        """
        while self._active:
            _, _, key = heapq.heappop(self._active)
            if key in self._is_active:  # else it was removed, or is in the heap twice
                self.take([key])
                return key
        self._not_empty.clear()
        return None

    def take(self, keys: Iterable[str]) -> None:
        """These are in work now, whether it was their turn or not: they are decided with one whose turn it is."""
        for key in keys:
            if (pod := self._pods.get(key)) is not None:
                self._leave(key, pod)
                self._is_active.discard(key)
                pod.attempts += 1
                pod.tried = self._clock.monotonic()

    def refuse(self, key: str, waiter: Waiter, plugins: frozenset[str]) -> None:
        """The pod in work fits nowhere, because of ``plugins``: leave it until something happens that can help.

        Call it before anything else can run: an event between the decision and this would be missed.
        """
        pod = self._pods.get(key)
        if pod is not None and key not in self._is_active:
            self._leave(key, pod)
            pod.bucket = self._buckets.setdefault(_identity(waiter, plugins), _Bucket(waiter, plugins))
            pod.bucket.keys[key] = None
            self._wake_after(key, pod, self._look_again)

    def fail(self, key: str) -> None:
        """The attempt itself failed (the API was away): try again after the back-off.

        Counted from the failure, so that who was refused room meanwhile is tried before who could not use it.
        """
        pod = self._pods.get(key)
        if pod is not None and key not in self._is_active:
            pod.tried = self._clock.monotonic()
            self._back_off(key, pod)

    def wake(self, key: str) -> None:
        """Something has happened to this very pod: try it again after its back-off, if it is unschedulable."""
        pod = self._pods.get(key)
        if pod is not None and pod.bucket is not None:
            self._back_off(key, pod)

    def happened(self, event: Event, cluster: Cluster) -> None:
        """Who fitted nowhere may fit now: those whom ``event`` can help are tried again after their back-off."""
        cause = event.kind, event.change
        helped = [one for one in self._buckets.values() if self._helps(event, cause, one, cluster)]
        for bucket in helped:
            for key in list(bucket.keys):
                self._back_off(key, self._pods[key])

    def _helps(self, event: Event, cause: tuple[str, str], bucket: _Bucket, cluster: Cluster) -> bool:
        for plugin in bucket.plugins:
            hint = self._hints.get(plugin)
            if hint is None or (cause in hint.causes and hint.helps(bucket.waiter, event, cluster)):
                return True
        # Nobody refused it, because there was no node to refuse it for.
        return not bucket.plugins

    def _back_off(self, key: str, pod: _Waiting) -> None:
        """Active once the back-off since the last attempt is over, which may be now."""
        self._leave(key, pod)
        due = pod.tried + self._backoff.delay(pod.attempts - 1)
        self._wake_after(key, pod, due - self._clock.monotonic())

    def _wake_after(self, key: str, pod: _Waiting, seconds: float) -> None:
        pod.timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._activate, key)

    def _activate(self, key: str) -> None:
        pod = self._pods[key]
        self._leave(key, pod)
        if key not in self._is_active:
            self._is_active.add(key)
            heapq.heappush(self._active, (-pod.priority, next(self._arrivals), key))
            self._not_empty.set()

    def _leave(self, key: str, pod: _Waiting) -> None:
        """The pod is neither unschedulable nor backing off any more."""
        if pod.timer is not None:
            pod.timer.cancel()
            pod.timer = None
        if pod.bucket is not None:
            del pod.bucket.keys[key]
            if not pod.bucket.keys:
                del self._buckets[_identity(pod.bucket.waiter, pod.bucket.plugins)]
            pod.bucket = None


def _identity(waiter: Waiter, plugins: frozenset[str]) -> Hashable:
    return waiter.demand, waiter.priority, plugins
