"""Keeps the guest's wall clock with the host's.

A guest is told the time when its pod begins. From then on its clock goes by itself, and knows neither that the host's
was set nor that its machine was stopped for a while, or its host asleep. So it is asked now and then, and set if it is
wrong.
"""

from __future__ import annotations

from contextlib import suppress

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.runtime.guest.port import Guest, GuestRefused

log = structlog.get_logger(__name__)

TOLERANCE_SECONDS = 1.0
"""Less than that is left to the guest: a step is worse for its programs than a small error."""


def is_wrong(guest: float, before: float, after: float) -> bool:
    """Whether the guest's clock cannot be right, as the host's said ``before`` and ``after`` it was asked.

    The answer may have been given at any time in between; a host that is busy may take seconds to ask.
    """
    return not before - TOLERANCE_SECONDS <= guest <= after + TOLERANCE_SECONDS


async def keep_time(guest: Guest, clock: Clock, *, every: float) -> None:
    """Until cancelled. Raises GuestLost."""
    while True:
        await clock.sleep(every)
        with suppress(GuestRefused):
            before = clock.time()
            said = await guest.clock()
            if is_wrong(said, before, clock.time()):
                log.info("the guest's clock is set", seconds=round(clock.time() - said, 3))
                await guest.clock(set_to=clock.time())
