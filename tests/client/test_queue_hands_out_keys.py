"""A key is worked on once however often it is added, by one worker at a time, and not too often when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.client.queue import KeyQueue
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.foundation import virtual_time
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.tasks import cancel

PLAIN = Backoff(initial=1.0, maximum=60.0)


def virtually(main: Callable[[KeyQueue], Awaitable[None]]) -> None:
    async def run() -> None:
        queue = KeyQueue(backoff=PLAIN)
        await main(queue)
        queue.close()

    virtual_time.run(run)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_key_that_is_added_twice_is_handed_out_once() -> None:
    async def main(queue: KeyQueue) -> None:
        for key in ("a", "b", "a"):
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    virtually(main)


def test_a_key_that_is_added_while_it_is_worked_on_is_handed_out_again_afterwards() -> None:
    async def main(queue: KeyQueue) -> None:
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"

    virtually(main)


def test_the_earliest_of_two_wishes_for_later_wins() -> None:
    async def main(queue: KeyQueue) -> None:
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 20)
        await queue.get()
        assert now() == 3
        queue.done("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await queue.get()

    virtually(main)


def test_each_failure_makes_the_next_try_later_and_a_success_forgets_them() -> None:
    async def main(queue: KeyQueue) -> None:
        assert [queue.retry("a") for _ in range(7)] == [1, 2, 4, 8, 16, 32, 60]
        queue.forget_failures("a")
        assert queue.retry("a") == 1

    virtually(main)


def test_news_of_a_failing_key_cannot_make_it_busy() -> None:
    async def main(queue: KeyQueue) -> None:
        queue.retry("a")
        queue.retry("a")
        tries = 0
        while now() < 30:
            queue.add("a")
            key = await queue.get()
            tries += 1
            queue.retry(key)
            queue.done(key)
        assert tries <= 31

    virtually(main)


def test_a_worker_that_is_cancelled_in_the_moment_it_is_woken_loses_no_key() -> None:
    async def main(queue: KeyQueue) -> None:
        one, two = (asyncio.ensure_future(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        queue.add("a")
        one.cancel()
        assert await two == "a"

    virtually(main)


def test_whatever_fails_is_tried_again_but_a_refusal_waits_for_news() -> None:
    async def main(queue: KeyQueue) -> None:
        outcomes: dict[str, list[Exception | Result]] = {
            "flaky": [Retryable("not now"), ValueError("a defect"), DONE],
            "refused": [Refused("never like this"), DONE],
        }
        tried: list[str] = []

        async def reconcile(key: str) -> Result:
            tried.append(key)
            outcome = outcomes[key].pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        task = asyncio.create_task(Workers("test", reconcile, queue=queue).run())
        queue.add("flaky")
        queue.add("refused")
        await asyncio.sleep(100)
        assert sorted(tried) == ["flaky", "flaky", "flaky", "refused"]
        queue.add("refused")
        await asyncio.sleep(1)
        assert outcomes == {"flaky": [], "refused": []}
        await cancel(task)

    virtually(main)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.sampled_from(["add", "after"])), max_size=40))
def test_no_key_is_ever_with_two_workers_and_none_is_forgotten(steps: list[tuple[str, float, str]]) -> None:
    async def main(queue: KeyQueue) -> None:
        in_work: set[str] = set()
        began: dict[str, float] = {}

        async def reconcile(key: str) -> Result:
            assert key not in in_work
            in_work.add(key)
            began[key] = now()
            await asyncio.sleep(0.5)
            in_work.discard(key)
            return DONE

        task = asyncio.create_task(Workers("test", reconcile, queue=queue, count=3).run())
        asked: dict[str, float] = {}
        for key, seconds, how in steps:
            if how == "add":
                queue.add(key)
                asked[key] = now()
            else:
                queue.add_after(key, seconds)
                asked[key] = max(asked.get(key, 0.0), now() + seconds)
            await asyncio.sleep(seconds / 4)
        await asyncio.sleep(100)
        assert set(began) == set(asked)
        assert in_work == set()
        await cancel(task)

    virtually(main)
