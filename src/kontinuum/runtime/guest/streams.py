"""The two ends of a stream with credit: what has come in and not been taken, and what may still go out. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from kontinuum.runtime.guest.port import GuestLost, GuestRefused
from kontinuum.runtime.guest.protocol import INITIAL_CREDIT, ProtocolBroken

_GRANT_AT = INITIAL_CREDIT // 4
"""Credit is given back in portions: a frame for every few bytes would double the traffic of a chatty process."""


class Incoming:
    """What a process wrote and nobody has taken yet: never more than ``INITIAL_CREDIT`` bytes."""

    def __init__(self, grant: Callable[[int], None]) -> None:
        self._grant = grant
        # Not a list of what came: an agent that sends single bytes would make us hold an object for each of them.
        self._waiting = bytearray()
        self._reading = 0
        self._taken = 0
        self._ended = False
        self._error: GuestLost | None = None
        self._stirred = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Raises ProtocolBroken if that is more than was granted."""
        if len(self._waiting) + len(data) + self._reading + self._taken > INITIAL_CREDIT:
            raise ProtocolBroken("the agent sends more output than it was granted")
        self._waiting += data
        self._stirred.set()

    def finish(self) -> None:
        self._ended = True
        self._stirred.set()

    def fail(self, error: GuestLost) -> None:
        self._error = error
        self._stirred.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """For one reader. Credit for a chunk is given back when the next one is asked for."""
        while True:
            while not self._waiting:
                if self._ended:
                    return
                if self._error is not None:
                    raise self._error
                self._stirred.clear()
                await self._stirred.wait()
            data = bytes(self._waiting[:_GRANT_AT])
            del self._waiting[:_GRANT_AT]
            self._reading = len(data)
            yield data
            self._reading = 0
            self._taken += len(data)
            if self._taken >= _GRANT_AT and not self._ended:
                taken, self._taken = self._taken, 0
                self._grant(taken)


class Grant:
    """How much the agent still has room for."""

    def __init__(self) -> None:
        self._credit = INITIAL_CREDIT
        self._error: GuestRefused | GuestLost | None = None
        self._stirred = asyncio.Event()

    def add(self, count: int) -> None:
        self._credit = min(self._credit + count, INITIAL_CREDIT)
        self._stirred.set()

    def fail(self, error: GuestRefused | GuestLost) -> None:
        self._error = error
        self._stirred.set()

    async def take(self, wanted: int) -> int:
        """Between one and ``wanted`` bytes, as soon as there is room. Raises what ``fail`` was given."""
        while True:
            if self._error is not None:
                raise self._error
            if self._credit > 0:
                taken = min(wanted, self._credit)
                self._credit -= taken
                return taken
            self._stirred.clear()
            await self._stirred.wait()
