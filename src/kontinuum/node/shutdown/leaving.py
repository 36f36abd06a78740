"""Carries a shutdown out: the node says so, takes no more pods, and ends those it has, group by group.

announced ─▶ NotReady ─▶ least important pods end ─▶ ... ─▶ most important ─▶ all is told ─▶ over
    └── called off: ready again, and pods that have ended stay so
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import Clock
from kontinuum.node import pods
from kontinuum.node.admission import Refusal
from kontinuum.node.observed import Observed
from kontinuum.node.remembered import Ending
from kontinuum.node.shutdown.plan import Group, ending, shared_out

log = structlog.get_logger(__name__)

PROBLEM = "node is shutting down"
LEAVING = Refusal("NodeShutdown", "Pod was rejected as the node is shutting down.")
TOLD_SECONDS = 5.0
"""How long the API may take to learn of the last end; the machine does not wait longer for it."""
POLL_SECONDS = 0.2


class Leaver(Protocol):
    """A pod's worker, as far as its node's shutdown is concerned."""

    pod: Object
    observed: Observed

    @property
    def is_over(self) -> bool: ...

    def end(self, why: Ending) -> None: ...

    async def wait_told(self) -> None: ...


class Shutdown:
    """``announce`` may be called at any time; ``run`` must be running."""

    def __init__(
        self, clock: Clock, order: Sequence[Group], workers: Callable[[], Iterable[Leaver]], changed: Callable[[], None]
    ) -> None:
        """``changed`` is told when the node begins to leave, and when that is called off."""
        self._clock = clock
        self._order = order
        self._workers = workers
        self._changed = changed
        self._announced = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def is_leaving(self) -> bool:
        return self._announced.is_set()

    @property
    def left(self) -> int:
        """Pods of which something runs."""
        return sum(_runs(worker) for worker in self._workers())

    def announce(self) -> None:
        if not self.is_leaving:
            log.warning("the node is shutting down")
            self._announced.set()
            self._changed()

    def call_off(self) -> None:
        if self.is_leaving:
            log.warning("the node is not shutting down after all")
            self._announced.clear()
            self._over.clear()
            self._changed()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    async def wait_announced(self) -> None:
        await self._announced.wait()

    async def wait_over(self) -> None:
        """Until the pods have ended, or had their time."""
        await self._over.wait()

    async def run(self) -> None:
        while True:
            await self._announced.wait()
            await self._end_all()
            self._over.set()
            while self.is_leaving:
                await self._clock.sleep(1)

    async def _end_all(self) -> None:
        by_uid = {worker.pod["metadata"]["uid"]: worker for worker in self._workers()}
        for group, members in shared_out([worker.pod for worker in by_uid.values()], self._order):
            leaving = [by_uid[pod["metadata"]["uid"]] for pod in members]
            for worker in leaving:
                if not worker.is_over:
                    worker.end(ending(worker.pod, group))
            await self._wait_ended(leaving, group.seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_SECONDS):
                await asyncio.gather(*(worker.wait_told() for worker in by_uid.values()))

    async def _wait_ended(self, leaving: list[Leaver], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(_runs(worker) for worker in leaving):
                    await self._clock.sleep(POLL_SECONDS)
                return
        log.warning("pods did not end in time", pods=[pods.describe(one.pod) for one in leaving if _runs(one)])


def _runs(worker: Leaver) -> bool:
    return any(container.is_running for container in worker.observed.containers)
