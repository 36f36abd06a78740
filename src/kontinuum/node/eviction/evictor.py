"""Looks again and again at what the machine has left and what pods take, and ends pods where the plan says so.

    look: signals, usage ──▶ a pod over its own limits? end it
                        └──▶ decide ──▶ conditions ──▶ the heartbeat
                                  └──▶ short of disk: dead containers and unused images; still short: end the first
One pod at a time: what its end gives back is seen before another is chosen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import structlog

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node import pods
from kontinuum.node.eviction import local_storage, words
from kontinuum.node.eviction.plan import Observation, State, decide
from kontinuum.node.eviction.ranking import is_critical, ranked
from kontinuum.node.eviction.thresholds import DISK_SIGNALS, RESOURCES, Threshold
from kontinuum.node.observed import Observed
from kontinuum.node.remembered import Ending
from kontinuum.node.settings import NodeSettings
from kontinuum.node.tools import Recorder
from kontinuum.node.usage.values import NOTHING, PodUsage

log = structlog.get_logger(__name__)

LOCAL_STORAGE = "ephemeral-storage"
"""What evictions for a pod's own limits are counted as."""
LOOK_SECONDS = 10.0
AWAIT_SECONDS = 30.0
"""How long an evicted pod may take to stop before the next look."""
HARD_GRACE_SECONDS = 1
"""The kubelet's: there is no time to lose, and 0 would mean that nobody waits for the process's end."""

Signals = Callable[[], Mapping[str, Observation]]
Measure = Callable[[Iterable[Object]], Awaitable[Mapping[str, PodUsage]]]
MakeRoom = Callable[[], Awaitable[object]]


class Evictable(Protocol):
    """A pod's worker, as far as its eviction is concerned."""

    pod: Object
    observed: Observed

    @property
    def is_over(self) -> bool: ...

    def end(self, why: Ending) -> None: ...


class Evictor:
    """``run`` until cancelled; ``pressures`` are the conditions that the node has now."""

    def __init__(
        self,
        settings: NodeSettings,
        clock: Clock,
        events: Recorder,
        *,
        workers: Callable[[], Iterable[Evictable]],
        measure: Measure,
        signals: Signals,
        node: Callable[[], Object],
        changed: Callable[[], None],
        has_image_disk: bool = False,
        make_room: MakeRoom | None = None,
    ) -> None:
        """``changed`` is told when ``pressures`` are others; ``make_room`` removes from the disk what nobody uses."""
        self.pressures: frozenset[str] = frozenset()
        self.evictions: Counter[str] = Counter()
        """Pods that went, by the signal that was answered."""
        self._settings = settings
        self._clock = clock
        self._events = events
        self._workers = workers
        self._measure = measure
        self._signals = signals
        self._node = node
        self._changed = changed
        self._has_image_disk = has_image_disk
        self._make_room = make_room
        self._thresholds = settings.eviction_thresholds
        self._state = State()

    async def run(self) -> None:
        while True:
            evicted: list[Evictable] = []
            try:
                evicted = await self._look()
            except (KontinuumError, OSError) as error:
                log.warning("the node's pressure cannot be judged", error=str(error))
            if evicted:
                await wait_stopped(evicted, self._clock)
                await self._clock.sleep(1)
            else:
                await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> list[Evictable]:
        """One look; answers who has to go."""
        workers = {uid_of(one.pod): one for one in self._workers() if not one.is_over}
        usage = await self._measure([one.pod for one in workers.values()])
        over = self._end_who_exceeds(workers, usage)
        due = self._judge(self._signals())
        if over or not due:
            return over
        threshold = due[0]
        log.warning("the node is short", signal=threshold.signal)
        resource = RESOURCES[threshold.signal]
        self._events.event(self._node(), "Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if threshold.signal in DISK_SIGNALS and await self._has_made_room():
            return []
        return self._end_first(workers, usage, threshold)

    def _judge(self, observed: Mapping[str, Observation]) -> tuple[Threshold, ...]:
        self._observed = observed
        period = self._settings.eviction_pressure_transition_period
        now = self._clock.monotonic()
        decision = decide(self._thresholds, observed, self._state, now, transition_period=period)
        self._state = decision.state
        if decision.pressures != self.pressures:
            self.pressures = decision.pressures
            self._changed()
        return decision.due

    async def _has_made_room(self) -> bool:
        """Remove what nobody uses, and look whether that was enough."""
        if self._make_room is None:
            return False
        await self._make_room()
        return not any(one.signal in DISK_SIGNALS for one in self._judge(self._signals()))

    def _end_who_exceeds(self, workers: Mapping[str, Evictable], usage: Mapping[str, PodUsage]) -> list[Evictable]:
        ended = []
        for uid, worker in workers.items():
            message = local_storage.excess(worker.pod, usage.get(uid, NOTHING))
            if message and not is_critical(worker.pod):
                self._end(worker, Ending(words.EVICTED, message, grace=HARD_GRACE_SECONDS))
                self.evictions[LOCAL_STORAGE] += 1
                ended.append(worker)
        return ended

    def _end_first(
        self, workers: Mapping[str, Evictable], usage: Mapping[str, PodUsage], threshold: Threshold
    ) -> list[Evictable]:
        candidates = [one.pod for one in workers.values()]
        for pod in ranked(candidates, usage, threshold, has_image_disk=self._has_image_disk):
            observed = self._observed[threshold.signal]
            message = words.short(pod, threshold, observed, usage.get(uid_of(pod), NOTHING))
            grace = HARD_GRACE_SECONDS if threshold.is_hard else self._soft_grace(pod)
            worker = workers[uid_of(pod)]
            self._end(worker, Ending(words.EVICTED, message, grace=grace, is_disruption=True))
            self.evictions[threshold.signal] += 1
            return [worker]
        log.warning("the node is short, and there is no pod that could be evicted", signal=threshold.signal)
        return []

    def _soft_grace(self, pod: Object) -> int:
        return min(self._settings.eviction_max_pod_grace_period, pods.grace_seconds(pod))

    def _end(self, worker: Evictable, why: Ending) -> None:
        log.warning("evicting a pod", pod=pods.describe(worker.pod), message=why.message)
        self._events.event(worker.pod, "Warning", words.EVICTED, why.message)
        worker.end(why)


async def wait_stopped(evicted: Iterable[Evictable], clock: Clock) -> None:
    """Until none of their containers runs, or it takes too long."""
    ending = list(evicted)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(AWAIT_SECONDS):
            while any(container.is_running for one in ending for container in one.observed.containers):
                await clock.sleep(1)
