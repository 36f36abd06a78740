"""Running a command so that SIGINT and SIGTERM let it clean up after itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from kontinuum.foundation.errors import Retryable


class Interrupted(Retryable):
    """Somebody did not want to wait; nothing was changed."""


def run(command: Coroutine[Any, Any, None], *, is_busy: bool = False) -> None:
    """Run ``command`` to its end, if it ``is_busy`` on a faster loop. Raises Interrupted after it has cleaned up."""
    try:
        with asyncio.Runner(loop_factory=_uvloop if is_busy else None) as runner:
            runner.run(_interruptible(command))
    except asyncio.CancelledError:
        raise Interrupted("interrupted; nothing was changed") from None


async def _interruptible(command: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
