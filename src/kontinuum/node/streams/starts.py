"""Lets a few sessions begin at a time; as many as want to may be open.

Each exec starts a program of the runtime's on the host, some tens of milliseconds of a processor. Hundreds at once
starve each other and every probe on the node; and containerd 1.6's shim for runc may stop answering for good when
execs that wait for their start are given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

AT_ONCE = 8
BEGUN_SECONDS = 2.0
"""A session that has said nothing by then has begun, too: not every program writes."""


class Starts:
    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def turn(self) -> Callable[[], None]:
        """Wait for a place; answers what is to be called, once or more often, when the session has begun or ended."""
        await self._places.acquire()
        is_held = True

        def begun() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                late.cancel()
                self._places.release()

        late = asyncio.get_running_loop().call_later(BEGUN_SECONDS, begun)
        return begun
