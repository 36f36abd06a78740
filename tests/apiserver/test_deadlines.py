"""Requests end at their deadlines, and who is cancelled by somebody else is not told that it was late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kontinuum.apiserver.deadlines import LOOK_SECONDS, Deadlines
from kontinuum.foundation import virtual_time


def virtually(test: Callable[[Deadlines], Awaitable[None]]) -> None:
    async def run() -> None:
        await test(Deadlines())

    virtual_time.run(run)


@pytest.mark.parametrize(("seconds", "late"), [(0.01, 0.0), (4.9, 0.0), (60.0, LOOK_SECONDS)])
def test_what_takes_too_long_ends(seconds: float, late: float) -> None:
    async def test(deadlines: Deadlines) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.Event().wait()
        assert seconds <= loop.time() - began + 1e-9 and loop.time() - began <= seconds + late + 1e-9
        # Whoever was late goes on as if nothing had been.
        assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
        await asyncio.sleep(1)

    virtually(test)


def test_what_ends_in_time_hears_nothing_of_it_later() -> None:
    async def test(deadlines: Deadlines) -> None:
        for seconds in (1.0, 10.0):
            with deadlines.within(seconds):
                await asyncio.sleep(0.9)
        await asyncio.sleep(100)

    virtually(test)


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_who_is_cancelled_is_not_late(seconds: float) -> None:
    async def test(deadlines: Deadlines) -> None:
        async def work() -> None:
            with deadlines.within(seconds):
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtually(test)


def test_an_idle_server_has_no_timer() -> None:
    async def test(deadlines: Deadlines) -> None:
        with deadlines.within(60):
            await asyncio.sleep(0)
        asyncio.get_running_loop()._selector.stuck_after = 0.0  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer is set"):
        virtually(test)
