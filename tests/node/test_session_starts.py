"""Few sessions begin at a time, none waits for ever, and as many as want to are open."""

from __future__ import annotations

import asyncio

import pytest

from kontinuum.foundation import virtual_time
from kontinuum.foundation.tasks import cancel
from kontinuum.node.streams.starts import BEGUN_SECONDS, Starts


@pytest.mark.parametrize("talks", [True, False])
def test_few_sessions_begin_at_once_and_all_are_open_in_the_end(talks: bool) -> None:
    async def main() -> None:
        starts, starting, opened, most = Starts(at_once=3), 0, 0, 0

        async def session() -> None:
            nonlocal starting, opened, most
            begun = await starts.turn()
            starting += 1
            most = max(most, starting)
            await asyncio.sleep(0.05 if talks else BEGUN_SECONDS * 0.99)
            starting -= 1
            if talks:
                begun()
            opened += 1
            await asyncio.sleep(1000)
            begun()

        sessions = [asyncio.create_task(session()) for _ in range(20)]
        await asyncio.sleep(100)
        assert (opened, most) == (20, 3)
        await cancel(*sessions)

    virtual_time.run(main)


def test_a_place_is_given_back_once_however_often_that_is_said() -> None:
    async def main() -> None:
        starts = Starts(at_once=1)
        begun = await starts.turn()
        for _ in range(3):
            begun()
        second = await starts.turn()
        third = asyncio.create_task(starts.turn())
        await asyncio.sleep(BEGUN_SECONDS / 2)
        assert not third.done()
        second()
        await third

    virtual_time.run(main)
