"""The entry of a part's process: ``python -m kontinuum.cli.run server|controllers|node``, settings on standard input.

Slim on purpose: no command-line library is imported. The imports come before the settings are read, so that a
supervisor can start us while it still makes certificates.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

from kontinuum.cli import assemble
from kontinuum.cli.exits import Exit
from kontinuum.cli.settings import Settings, decode
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.foundation.telemetry import configure_logs


def main(arguments: list[str]) -> int:
    """Run the part that ``arguments`` names until SIGTERM. Returns the exit code."""
    [name] = arguments
    # Ctrl-C is for the supervisor to handle; a part ends when it is told to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a start makes stays: looking for garbage in it costs a fifth of the start. Once it is ready it is frozen.
    gc.disable()
    assemble.preload(name)
    document = sys.stdin.buffer.read()
    if not document:
        return Exit.OK  # Whoever started us ended before we were told what to do.
    settings = decode(document)
    configure_logs(component=name, format="json", level=settings.log_level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(name)) as runner:
            runner.run(_until_terminated(name, settings))
    except KontinuumError as error:
        print(f"kontinuum {name}: {error}", file=sys.stderr)
        return Exit.BROKEN if isinstance(error, Broken) else Exit.FAILED
    return Exit.OK


async def _until_terminated(name: str, settings: Settings) -> None:
    task = asyncio.ensure_future(assemble.PARTS[name](settings, RealClock()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where requests per second count; elsewhere its memory is worth more than its speed."""
    if name not in ("server", "controllers", "manager", "scheduler"):
        return None
    import uvloop

    return uvloop.new_event_loop
