"""systemd-logind: it announces a shutdown, and waits for who has asked it to ("inhibitor locks", systemd.io).

Two programs of systemd do it, so that no D-Bus library is needed: ``busctl`` hears, ``systemd-inhibit`` holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from kontinuum.foundation import process
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node.shutdown.leaving import Shutdown

log = structlog.get_logger(__name__)

RUNNING = Path("/run/systemd/system")
"""There if systemd is this machine's init (sd_booted(3))."""
MANAGER = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
MATCH = "type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForShutdown'"
HOLD = ("--what=shutdown", "--who=kontinuum", "--why=Kontinuum ends pods in order", "--mode=delay", "sleep", "infinity")
AGAIN_SECONDS = 10.0


async def follow(shutdown: Shutdown, clock: Clock, seconds: float) -> None:
    """Announce what logind announces, until cancelled; returns at once where there is no logind.

    ``seconds`` is how long pods may take in all.
    """
    busctl, inhibit = process.find_program("busctl"), process.find_program("systemd-inhibit")
    if not RUNNING.is_dir() or busctl is None or inhibit is None:
        log.info("no logind announces this machine's shutdown; use `kontinuum down --drain`")
        return
    await _warn_if_impatient(busctl, seconds)
    while True:
        try:
            await _once(busctl, inhibit, shutdown)
        except (KontinuumError, OSError) as error:
            log.warning("logind cannot be followed", error=str(error))
        await clock.sleep(AGAIN_SECONDS)


async def _once(busctl: Path, inhibit: Path, shutdown: Shutdown) -> None:
    holder = process.spawn(str(inhibit), *HOLD)
    try:
        async with _lines_of(busctl, "monitor", "--json=short", f"--match={MATCH}") as lines:
            async for line in lines:
                told = announcement(line)
                if told is True:
                    shutdown.announce()
                    await shutdown.wait_over()
                    # Now the machine may go.
                    await holder.stop(grace=1)
                elif told is False:
                    shutdown.call_off()
                    return
    finally:
        await holder.stop(grace=1)
        holder.close()


@contextlib.asynccontextmanager
async def _lines_of(*command: process.Word) -> AsyncIterator[asyncio.StreamReader]:
    """What a program says, line by line, as long as it runs."""
    ours, its = os.pipe()
    try:
        child = process.spawn(*command, stdout=its)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(its)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
    )
    try:
        yield reader
    finally:
        transport.close()
        await child.stop(grace=1)
        child.close()


def announcement(line: bytes) -> bool | None:
    """Whether a message of the bus says that a shutdown begins (True) or is called off (False)."""
    try:
        message = json.loads(line)
        if message.get("member") != "PrepareForShutdown":
            return None
        return bool(message["payload"]["data"][0])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


async def _warn_if_impatient(busctl: Path, seconds: float) -> None:
    """logind waits for nobody longer than its own setting says; that is the administrator's to change."""
    try:
        answer = await process.run(str(busctl), "get-property", *MANAGER, "InhibitDelayMaxUSec", timeout=10)
        waits = int(answer.text.split()[1]) / 1e6
    except (KontinuumError, OSError, ValueError, IndexError) as error:
        log.warning("logind does not say how long it waits", error=str(error))
        return
    if waits < seconds:
        log.warning(
            "logind waits less than pods may take: set InhibitDelayMaxSec= in /etc/systemd/logind.conf",
            waits=waits,
            needed=seconds,
        )
