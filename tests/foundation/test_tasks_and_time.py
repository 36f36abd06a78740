"""Back-off grows to its bound, tasks are restarted, and an hour of virtual time takes no time."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from kontinuum.foundation import tasks, virtual_time
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import VirtualClock, parse_rfc3339, rfc3339, rfc3339_micro


def test_backoff_doubles_to_its_maximum_and_never_overflows() -> None:
    backoff = Backoff(initial=1, maximum=10)
    assert [backoff.delay(attempt) for attempt in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.delay(10**9) == 10


def test_jitter_spreads_by_its_share_only() -> None:
    backoff = Backoff(initial=1, maximum=100, jitter=0.2)
    delays = [backoff.delay(3, random.Random(seed)) for seed in range(200)]
    assert 6.4 <= min(delays) < 7
    assert 9 < max(delays) <= 9.6


def test_a_fallen_task_is_started_again_with_growing_pauses_until_it_has_been_healthy() -> None:
    began: list[float] = []

    async def main() -> None:
        clock = VirtualClock()

        async def work() -> None:
            began.append(clock.monotonic())
            if len(began) == 4:
                await clock.sleep(100)  # Healthy for longer than the bound.
            raise ValueError("fell")

        task = asyncio.create_task(tasks.restarting("work", work, clock=clock, backoff=Backoff(1, 60)))
        await clock.sleep(109)
        await tasks.cancel(task)

    virtual_time.run(main)
    assert began == [0, 1, 3, 7, 108]


def test_virtual_hours_pass_at_once_and_wall_time_may_jump_alone() -> None:
    async def main() -> None:
        clock = VirtualClock(epoch=1000)
        await clock.sleep(3600)
        assert clock.time() == 4600
        clock.jump(-600)
        assert clock.time() == 4000
        assert clock.monotonic() == 3600

    began = time.monotonic()
    virtual_time.run(main)
    assert time.monotonic() - began < 30


def test_a_program_that_waits_for_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time._JumpingSelector, "stuck_after", 0.05)

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="deadlock in virtual time"):
        virtual_time.run(main)


def test_times_are_written_as_kubernetes_writes_them() -> None:
    assert rfc3339(1_700_000_000.9) == "2023-11-14T22:13:20Z"
    assert rfc3339_micro(1_700_000_000.5) == "2023-11-14T22:13:20.500000Z"
    assert parse_rfc3339("2023-11-14T22:13:20Z") == 1_700_000_000


def test_times_of_the_first_years_are_written_as_they_are_read() -> None:
    """Go's time that says nothing is the beginning of year 1, and times near it are written too."""
    for text in ("0001-01-01T00:00:02Z", "0999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"):
        assert rfc3339(parse_rfc3339(text)) == text
        assert rfc3339_micro(parse_rfc3339(text)) == text.replace("Z", ".000000Z")


def test_a_thread_that_ends_late_does_not_disturb_the_end_of_virtual_time() -> None:
    """Python 3.14 waits 300 seconds at most for threads, by the loop's time, which jumps."""

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)

    virtual_time.run(main)
