"""Slow start: one call, then two, then four, so that a server that refuses is not asked a thousand times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def slow_start(items: Sequence[T], call: Callable[[T], Awaitable[None]]) -> None:
    """``call`` every item, in batches of growing size; the first error ends it after its batch, and is raised."""
    start, size = 0, 1
    while start < len(items):
        results = await asyncio.gather(*(call(item) for item in items[start : start + size]), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        start += size
        size *= 2
