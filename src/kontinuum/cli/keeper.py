"""Keeps one part of the platform running.

               launch            word of readiness
    WAITING ───────────▶ STARTING ───────────▶ READY
       ▲                    │                    │
       └──── back-off ──────┴──────── exit ──────┘          cancelled, anywhere: STOPPED

The keeper decides; a ``Launcher`` acts, so that a test can keep a part that is no process, in virtual time.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.foundation.process import describe_exit

log = structlog.get_logger(__name__)

RESTART = Backoff(initial=0.1, maximum=15.0)
HEALTHY_SECONDS = 30.0
"""A part that ran for this long starts its back-off anew."""


class State(enum.StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


async def nothing_before() -> None:
    """The part needs nothing but itself."""


async def nothing_to_say() -> bytes:
    """The part reads nothing."""
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to keep running."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[], Awaitable[None]] = nothing_before
    """Awaited before each launch: what the program needs to find."""
    standard_input: Callable[[], Awaitable[bytes]] = nothing_to_say
    """Awaited after each launch: a program that reads it last can import while we still prepare."""
    socket: Path | None = None
    """Ready when somebody listens here; None: ready when the part says so (sockets.notify_ready)."""
    grace: float = 10.0
    """Seconds from SIGTERM to SIGKILL."""


class Running(Protocol):
    """One life of a part."""

    @property
    def pid(self) -> int: ...

    async def wait_ready(self) -> None: ...

    async def wait(self) -> int:
        """The exit code."""
        ...

    async def stop(self) -> int: ...

    def close(self) -> None: ...


class Launcher(Protocol):
    """Starts lives."""

    async def launch(self, part: Part) -> Running: ...


class Keeper:
    """One part, its state and its history."""

    def __init__(self, part: Part, launcher: Launcher, clock: Clock, changed: Callable[[], None]) -> None:
        self.part = part
        self.state = State.WAITING
        self.pid: int | None = None
        self.since = clock.time()
        """When the present state began, in seconds since the epoch."""
        self.restarts = 0
        self.last_exit = ""
        self._launcher = launcher
        self._clock = clock
        self._changed = changed

    async def run(self) -> None:
        """Keep the part running until cancelled; then stop it."""
        failures = 0
        try:
            while True:
                began = self._clock.monotonic()
                await self._live_once()
                failures = 0 if self._clock.monotonic() - began > HEALTHY_SECONDS else failures
                self._become(State.WAITING, pid=None)
                await self._clock.sleep(RESTART.delay(failures))
                failures += 1
                self.restarts += 1
        finally:
            self._become(State.STOPPED, pid=None)

    async def _live_once(self) -> None:
        try:
            await self.part.before()
            running = await self._launcher.launch(self.part)
        except (KontinuumError, OSError) as error:
            self.last_exit = str(error)
            log.error("a part cannot be started and will be tried again", part=self.part.name, error=str(error))
            return
        try:
            await self._watch(running)
        finally:
            # Also when we are cancelled: a part never outlives its keeper.
            await running.stop()
            running.close()

    async def _watch(self, running: Running) -> None:
        self._become(State.STARTING, pid=running.pid)
        async with asyncio.TaskGroup() as group:
            ready = group.create_task(self._announce(running))
            code = await running.wait()
            ready.cancel()
        self.last_exit = describe_exit(code)
        log.warning("a part has ended and will be started again", part=self.part.name, exit=self.last_exit)

    async def _announce(self, running: Running) -> None:
        await running.wait_ready()
        self._become(State.READY, pid=running.pid)

    def _become(self, state: State, *, pid: int | None) -> None:
        self.state, self.pid, self.since = state, pid, self._clock.time()
        self._changed()
