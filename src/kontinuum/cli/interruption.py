"""Running a command so that SIGINT, SIGTERM and the end of its terminal let it clean up after itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from kontinuum.foundation.errors import Retryable


class Interrupted(Retryable):
    """Somebody did not want to wait; nothing was changed."""


def run(command: Coroutine[Any, Any, None], *, loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    """Run ``command`` to its end, on asyncio's own loop or one that is made for it.

    Raises Interrupted after it has cleaned up.
    """
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(_interruptible(command))
    except asyncio.CancelledError:
        raise Interrupted("interrupted; nothing was changed") from None


async def _interruptible(command: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(command)
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup, which is to outlive its terminal
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def fast() -> asyncio.AbstractEventLoop:
    """A loop for a command that is busy all the time."""
    import uvloop

    return uvloop.new_event_loop()
