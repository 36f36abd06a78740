"""Many calls: so many at the same time, or in slow start (one, then two, then four), so that a server that refuses is
not asked a thousand times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_AT_ONCE = 64
"""Calls of one slow start that are under way; more of them are answered no sooner."""


async def slow_start(items: Sequence[T], call: Callable[[T], Awaitable[None]]) -> None:
    """``call`` every item, one at first; each success lets one more be under way, up to MOST_AT_ONCE.

    So their number doubles with every round trip, and nobody waits for a whole batch. After the first error nothing
    more begins, and it is raised when what is under way has ended.
    """
    waiting = iter(items)
    failures: list[Exception] = []
    working = 1

    async def work() -> None:
        nonlocal working
        for item in waiting:
            try:
                await call(item)
            except Exception as error:
                failures.append(error)
            if failures:
                return
            if working < min(MOST_AT_ONCE, len(items)):
                working += 1
                group.create_task(work())

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
    if failures:
        raise failures[0]


async def at_once(items: Sequence[T], call: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """``call`` every item, ``limit`` of them at the same time; all are tried, then the first error is raised."""
    turns = asyncio.Semaphore(limit)

    async def in_turn(item: T) -> None:
        async with turns:
            await call(item)

    for result in await asyncio.gather(*(in_turn(item) for item in items), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
