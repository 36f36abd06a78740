"""From a thread to the event loop: archives are read by code that blocks, stores are written by code that waits.

async with bridged() as bridge:
    await bridge.in_thread(read_everything)      which says bridge.wait(store.size(...)) inside
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kontinuum.foundation.errors import Retryable

T = TypeVar("T")


class Stopped(Retryable):
    """Whoever wanted the result does not any more."""


class Bridge:
    """See the module."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_stopped = False

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` beside the loop."""
        return await asyncio.to_thread(work)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Called in the thread: what the loop answers. Raises Stopped."""
        if self._is_stopped:
            coroutine.close()
        self.check()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def check(self) -> None:
        """Called in the thread from time to time: raises Stopped when it works for nobody any more."""
        if self._is_stopped:
            raise Stopped("interrupted")

    def stop(self) -> None:
        self._is_stopped = True

    def reader(self, parts: AsyncIterator[bytes]) -> io.RawIOBase:
        """For the thread: ``parts`` as a file."""
        return _Parts(self, parts)


class _Parts(io.RawIOBase):
    def __init__(self, bridge: Bridge, parts: AsyncIterator[bytes]) -> None:
        self._bridge = bridge
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            part = self._bridge.wait(_next(self._parts))
            if part is None:
                return 0
            self._rest = memoryview(part)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    async for part in parts:
        return part
    return None


@asynccontextmanager
async def bridged() -> AsyncIterator[Bridge]:
    """A bridge that is up inside the block."""
    bridge = Bridge()
    try:
        yield bridge
    finally:
        bridge.stop()
