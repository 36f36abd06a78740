"""Time as an argument: the real clock, and a virtual one in which an hour of sleeping costs nothing.

``virtual_time.run(main)`` runs a coroutine on an event loop whose time jumps to the next timer whenever nothing else
is runnable, so that ``asyncio.sleep`` and ``asyncio.timeout`` are virtual too; ``VirtualClock`` tells that loop's time.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Wall time may jump; monotonic time never does."""

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller for at least ``seconds``."""
        ...


class RealClock:
    """The machine's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """The running event loop's time, offset to an epoch; meant for ``virtual_time.run``.

    ``jump`` moves wall time alone, as a careless administrator or NTP does.
    """

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self._epoch = epoch

    def time(self) -> float:
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        self._epoch += seconds


def rfc3339(seconds: float) -> str:
    """``seconds`` since the epoch as Kubernetes' ``Time``: ``2026-01-02T03:04:05Z`` (whole seconds, UTC)."""
    return _second(math.floor(seconds))


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    # A server stamps thousands of objects within the same second.
    return _zulu(datetime.fromtimestamp(seconds, UTC), "seconds")


def rfc3339_micro(seconds: float) -> str:
    """``seconds`` since the epoch as Kubernetes' ``MicroTime``: six digits of fraction, UTC."""
    return _zulu(datetime.fromtimestamp(seconds, UTC), "microseconds")


def _zulu(moment: datetime, precision: str) -> str:
    # Not strftime: its years before 1000 have fewer than four digits, and Go's zero time is in year 1.
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time stamp. Raises ValueError if it is none."""
    return datetime.fromisoformat(text).timestamp()
