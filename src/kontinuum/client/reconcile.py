"""A key comes in, a Result goes out: workers that have a reconciler look at every key until all is as it should be.

Whatever fails is tried again, later each time, for ever; only ``Refused`` is final until the object changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from kontinuum.api.machinery.status import ApiError
from kontinuum.client.queue import KeyQueue
from kontinuum.client.writes import OwnWrites
from kontinuum.foundation.errors import Refused, Retryable

log = structlog.get_logger(__name__)

UNSEEN_RETRY = 0.5
"""Seconds after which a key whose writes have not come back is looked at again; their events usually come first."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconciler wants next for its key."""

    requeue_after: float | None = None
    """Seconds until it wants to look again, though nothing changes; None: only when something does."""


DONE = Result()

Reconcile = Callable[[str], Awaitable[Result]]


class Workers:
    """Some tasks that take keys off a queue and give each to ``reconcile``, never the same key to two at a time."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        queue: KeyQueue | None = None,
        writes: OwnWrites | None = None,
        count: int = 4,
    ) -> None:
        """With ``writes`` a key waits until what was written for it has been seen."""
        self.name = name
        # An empty queue is false, so the question is whether there is one.
        self.queue = KeyQueue() if queue is None else queue
        self._reconcile = reconcile
        self._writes = writes
        self._count = count

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._count):
                    group.create_task(self._work())
        finally:
            self.queue.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._handle(key)
            finally:
                self.queue.done(key)

    async def _handle(self, key: str) -> None:
        if self._writes is not None and not self._writes.are_seen(key):
            self.queue.add_after(key, UNSEEN_RETRY)
            return
        try:
            result = await self._reconcile(key)
        except Refused as error:
            log.warning("a key is refused until it changes", controller=self.name, key=key, error=str(error))
            self.queue.forget_failures(key)
            return
        except (ApiError, Retryable) as error:
            seconds = self.queue.retry(key)
            log.info("a key will be tried again", controller=self.name, key=key, error=str(error), seconds=seconds)
            return
        except Exception:
            # A defect in one object's handling must not stop the work on all others.
            seconds = self.queue.retry(key)
            log.exception("a key failed and will be tried again", controller=self.name, key=key, seconds=seconds)
            return
        self.queue.forget_failures(key)
        if result.requeue_after is not None:
            self.queue.add_after(key, result.requeue_after)
