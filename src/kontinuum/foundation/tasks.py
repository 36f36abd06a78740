"""Tasks whose lives are bounded by a block, and tasks that are restarted when they fall.

``asyncio.TaskGroup`` is the group; this module adds what it lacks: restart with back-off, and an orderly stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock

log = structlog.get_logger(__name__)

RESTART = Backoff(initial=0.2, maximum=30.0, jitter=0.1)


async def restarting(
    name: str, start: Callable[[], Awaitable[None]], *, clock: Clock, backoff: Backoff = RESTART
) -> None:
    """Run ``start()`` for ever: when it raises or returns, wait and run it again. Ends only by cancellation.

    A run that lasted longer than the back-off's maximum counts as healthy and resets it.
    """
    failures = 0
    while True:
        began = clock.monotonic()
        try:
            await start()
            log.warning("task ended and will be started again", task=name)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("task failed and will be started again", task=name, failures=failures + 1)
        failures = 0 if clock.monotonic() - began > backoff.maximum else failures
        await clock.sleep(backoff.delay(failures))
        failures += 1


async def all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all ``works`` side by side. The first failure ends the others, and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def cancel(*tasks: asyncio.Task[object]) -> None:
    """Cancel ``tasks`` and wait until each has ended; their errors are not raised here."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
