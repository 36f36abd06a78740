"""An event loop in virtual time: when nothing is runnable, time jumps to the next timer instead of waiting for it.

For tests and simulations. File descriptors are still polled (with no wait), so what runs here should not depend on real
sockets.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Asks for ready descriptors without waiting, and moves the loop's time forward by the wait it was asked for."""

    stuck_after = 5.0
    """Real seconds in which a thread may still wake us."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # Nothing is scheduled and nothing is ready: either a thread will wake us, or the test is stuck.
            ready = super().select(self.stuck_after)
            if not ready:
                raise RuntimeError("deadlock in virtual time: every task waits and no timer is set")
            return ready
        self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """``timeout`` is Python's (from 3.12 on), and would pass here at once: threads end in real time."""
        await super().shutdown_default_executor()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end on a fresh virtual-time loop and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())
