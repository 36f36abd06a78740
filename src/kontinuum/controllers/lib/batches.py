"""Many calls: so many at the same time, or in slow start (one, then two, then four), so that a server that refuses is
not asked a thousand times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def slow_start(items: Sequence[T], call: Callable[[T], Awaitable[None]]) -> None:
    """``call`` every item, in batches of growing size; the first error ends it after its batch, and is raised."""
    start, size = 0, 1
    while start < len(items):
        batch = items[start : start + size]
        _raise_first(await asyncio.gather(*(call(item) for item in batch), return_exceptions=True))
        start += size
        size *= 2


async def at_once(items: Sequence[T], call: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """``call`` every item, ``limit`` of them at the same time; all are tried, then the first error is raised."""
    turns = asyncio.Semaphore(limit)

    async def in_turn(item: T) -> None:
        async with turns:
            await call(item)

    _raise_first(await asyncio.gather(*(in_turn(item) for item in items), return_exceptions=True))


def _raise_first(results: Sequence[BaseException | None]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result
