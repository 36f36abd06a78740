"""Many pods that come together are let come before they are placed; nobody else ever waits, and nobody for long."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation import virtual_time
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import VirtualClock
from kontinuum.scheduler.flood import CALM_SECONDS, LOOK_SECONDS, MANY, RISING_SECONDS, Flood
from kontinuum.scheduler.queue import SchedulingQueue

SECONDS = 0.5
SLOW = RISING_SECONDS / (MANY - 1)
"""Pods that are at least so far apart are no flood."""


def waits(arrivals: list[float]) -> list[tuple[float, float]]:
    """From when until when a scheduler waits that looks at each arrival, and whenever it was told to look again."""
    flood, found = Flood(SECONDS), []
    looks = sorted(set(arrivals))
    waiting = iter(arrivals)
    coming = next(waiting, None)
    until = 0.0
    for look in looks:
        now = max(look, until)
        began = now
        while True:
            while coming is not None and coming <= now:
                flood.came(coming)
                coming = next(waiting, None)
            if not (seconds := flood.wait(now)):
                break
            now += seconds
        until = now
        if now > began:
            found.append((began, now))
    return found


@given(st.lists(st.sampled_from([0.0, 0.0005, 0.004, SLOW, CALM_SECONDS / 2, CALM_SECONDS, 1.0]), max_size=400))
def test_a_wait_ends_soon_after_the_last_pod_and_in_any_case(gaps: list[float]) -> None:
    arrivals = list(itertools.accumulate(gaps))
    found = waits(arrivals)
    for began, ended in found:
        last = max(one for one in arrivals if one <= ended)
        assert ended <= last + CALM_SECONDS + LOOK_SECONDS + 1e-9
        assert ended - began <= SECONDS + LOOK_SECONDS + 1e-9
        assert sum(began - RISING_SECONDS < one <= began for one in arrivals) >= MANY
    for (began, _), (again, ended) in itertools.pairwise(found):
        if ended - began > SECONDS + LOOK_SECONDS:
            # Only another flood is waited for: there was a pause.
            since = [one for one in arrivals if began <= one <= again]
            assert any(later - earlier >= CALM_SECONDS for earlier, later in itertools.pairwise(since))


@given(st.lists(st.floats(SLOW * 1.001, 1.0), max_size=100))
def test_what_comes_slowly_never_waits(gaps: list[float]) -> None:
    assert waits(list(itertools.accumulate(gaps))) == []


def test_the_queue_lets_many_come_and_serves_the_lone_one_at_once() -> None:
    async def main() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock, Backoff(initial=1, maximum=10), look_again=300, flood_seconds=SECONDS)
        queue.add("default/lone", 0)
        await queue.wait_active()
        assert clock.monotonic() == 0 and queue.pop() == "default/lone"

        async def create() -> None:
            for number in range(200):
                queue.add(f"default/web-{number}", 0)
                await clock.sleep(0.001)

        creating = asyncio.create_task(create())
        await clock.sleep(0.05)
        await queue.wait_active()
        assert creating.done()
        assert sum(queue.pop() is not None for _ in range(201)) == 200

    virtual_time.run(main)
