"""Many calls begin with one, grow with each success, and end with the first error."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.controllers.lib.batches import MOST_AT_ONCE, slow_start
from kontinuum.foundation import virtual_time

SECONDS = st.lists(st.floats(0.001, 1.0), max_size=300)


@given(SECONDS, st.sets(st.integers(0, 300), max_size=3))
def test_no_more_are_under_way_than_have_succeeded_and_one_and_none_begin_after_an_error(
    seconds: list[float], failing: set[int]
) -> None:
    begun: list[int] = []
    done: list[int] = []
    failed: list[int] = []

    async def call(number: int) -> None:
        assert not failed, "a server that has refused is asked again"
        begun.append(number)
        under_way = len(begun) - len(done)
        assert under_way <= min(len(done) + 1, MOST_AT_ONCE)
        await asyncio.sleep(seconds[number])
        if number in failing:
            failed.append(number)
            raise ValueError(number)
        done.append(number)

    async def main() -> None:
        if failing & set(range(len(seconds))):
            try:
                await slow_start(range(len(seconds)), call)
            except ValueError as error:
                assert error.args == (failed[0],)
            else:
                pytest.fail("the error is lost")
            assert len(begun) == len(done) + len(failed), "what was under way has ended"
        else:
            await slow_start(range(len(seconds)), call)
            assert sorted(done) == list(range(len(seconds)))
        assert begun == list(range(len(begun)))

    virtual_time.run(main)


def test_five_hundred_calls_that_take_a_second_each_take_fourteen() -> None:
    async def main() -> None:
        await slow_start(range(500), lambda _: asyncio.sleep(1.0))
        assert asyncio.get_running_loop().time() < 14.5  # 1, 2, 4 ... 32 at once, and then 64

    virtual_time.run(main)
