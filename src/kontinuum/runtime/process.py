"""One process of a container as containerd sees it.

    CREATED ── start ──▶ RUNNING ── ended, and its output taken ──▶ STOPPED
       └──────── killed before it was started, or while it was ────────▲

The numbers of the states are those of containerd.v1.types.Status.
"""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.runtime import pumps
from kontinuum.runtime.guest.port import (
    Exit,
    Guest,
    GuestLost,
    GuestProcess,
    GuestRefused,
    ProcessNotStarted,
    ProcessSpec,
)
from kontinuum.runtime.oci import Document
from kontinuum.runtime.pumps import Inlet, Outlet
from kontinuum.runtime.task.errors import NoSuchProcess, WrongState

log = structlog.get_logger(__name__)

KILLED = 128 + signal.SIGKILL
"""How a process ended that went down with its machine."""


class CannotStart(Refused):
    """The process could not be started; the message is what runc would say."""


class Phase(IntEnum):
    """See the module."""

    CREATED = 1
    RUNNING = 2
    STOPPED = 3


_MOVES = {
    Phase.CREATED: {Phase.RUNNING, Phase.STOPPED},
    Phase.RUNNING: {Phase.STOPPED},
    Phase.STOPPED: set[Phase](),
}


@dataclass(frozen=True, slots=True)
class Stdio:
    """Paths of containerd's FIFOs; empty means that nobody listens."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Process:
    """The first process of a container (``exec_id`` empty) or an exec."""

    def __init__(
        self,
        *,
        container: str,
        exec_id: str,
        stdio: Stdio,
        clock: Clock,
        drain_seconds: float,
        on_exit: Callable[[Process, Exit], None],
        lost_exit: Callable[[], Awaitable[Exit]],
    ) -> None:
        """``lost_exit``: how it has ended if its machine is lost, as soon as that may be told."""
        self.container = container
        self.exec_id = exec_id
        self.stdio = stdio
        self.phase = Phase.CREATED
        self.pid = 0
        """A process on the host that stands for this one; containerd wants one."""
        self.exit_status = 0
        self.exited_at = 0.0
        """Seconds since the epoch."""
        self.out_of_memory = False
        """Whether it was killed because there was no memory left for it."""
        self.spec: Document | None = None
        """An exec's own ``process`` object; a first process has the container's."""
        self.before_end: Callable[[], Awaitable[None]] | None = None
        """What must be done between its exit and the news of it, because who hears the news looks at it."""
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._on_exit = on_exit
        self._lost_exit = lost_exit
        self._stopped = asyncio.Event()
        self._guest_process: GuestProcess | None = None
        self._inlet: Inlet | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self, guest: Guest, spec: ProcessSpec) -> None:
        """Start it in the guest and connect its streams. What has been ended meanwhile is killed as soon as it runs.

        Raises CannotStart, GuestLost, WrongState.
        """
        if self.phase is not Phase.CREATED or self._life is not None:
            raise WrongState(f"process {self.exec_id or self.container} has been started before")
        outlets, self._inlet = self._open_streams()
        try:
            self._guest_process = await guest.start_process(spec)
        except GuestRefused as error:
            self._close(outlets)
            raise CannotStart(explain(error, spec)) from error
        except BaseException:
            self._close(outlets)
            raise
        ended_meanwhile = self._stopped.is_set()
        if not ended_meanwhile:
            self._move(Phase.RUNNING)
        self._life = asyncio.get_running_loop().create_task(self._live(self._guest_process, outlets))
        if ended_meanwhile:
            with suppress(GuestRefused, GuestLost):
                await self._guest_process.signal(signal.SIGKILL)
            raise WrongState(f"process {self.exec_id or self.container} was ended while it was being started")

    def start_without_guest(self) -> None:
        """For a sandbox container, which runs nothing. Raises WrongState."""
        if self.phase is not Phase.CREATED:
            raise WrongState(f"container {self.container} has been started before")
        self._move(Phase.RUNNING)

    def end(self, exit: Exit) -> None:
        """It is over. The first reason given is the one that counts."""
        if self.phase is Phase.STOPPED:
            return
        self._move(Phase.STOPPED)
        self.exit_status, self.out_of_memory = exit.status, exit.out_of_memory
        self.exited_at = self._clock.time()
        self._stopped.set()
        self._on_exit(self, exit)

    async def wait(self) -> None:
        """Until it is over and all of its output is with containerd."""
        await self._stopped.wait()

    async def signal(self, number: int, *, whole_container: bool) -> None:
        """Raises NoSuchProcess if it has ended."""
        if self.phase is Phase.STOPPED:
            raise NoSuchProcess("process already finished: not found")
        if self._guest_process is None:
            self.end(Exit(128 + number))
            return
        try:
            await self._guest_process.signal(number, whole_container=whole_container)
        except (GuestRefused, GuestLost) as error:
            raise NoSuchProcess(f"process already finished: not found ({error})") from error

    async def resize(self, *, rows: int, columns: int) -> None:
        """Tell its terminal how large it is; nothing happens when it has ended."""
        if self._guest_process is not None and self.phase is Phase.RUNNING:
            await self._guest_process.resize(rows=rows, columns=columns)

    def close_stdin(self) -> None:
        """containerd will write no more input."""
        if self._inlet is not None:
            self._inlet.finish()

    @property
    def guest_pid(self) -> int:
        """Its number in the guest; 0 if it runs nothing there."""
        return self._guest_process.pid if self._guest_process is not None else 0

    async def _live(self, process: GuestProcess, outlets: list[Outlet]) -> None:
        streams = [process.stdout(), process.stderr()] if len(outlets) == 2 else [process.stdout()]
        loop = asyncio.get_running_loop()
        outputs = [loop.create_task(pumps.pump_output(*pair)) for pair in zip(streams, outlets, strict=False)]
        feed = loop.create_task(pumps.pump_input(self._inlet, process)) if self._inlet is not None else None
        try:
            exit = await process.wait()
        except GuestLost as error:
            log.warning("a process went down with its machine", process=self.exec_id or self.container, why=str(error))
            exit = await self._lost_exit()
        if feed is not None:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
        try:
            await self._drain(outputs, outlets)
            await self._finish()
        finally:
            # Whatever went wrong with its output: containerd must hear that it has ended.
            self._close(outlets)
            self.end(exit)

    async def _finish(self) -> None:
        """Bounded, because a machine that hangs must not keep its processes alive."""
        if self.before_end is None:
            return
        try:
            async with asyncio.timeout(self._drain_seconds):
                await self.before_end()
        except TimeoutError:
            log.warning("the end of a process was not waited for", process=self.exec_id or self.container)

    async def _drain(self, outputs: list[asyncio.Task[None]], outlets: list[Outlet]) -> None:
        """Bounded, because a grandchild may keep the stream open for ever, or containerd be away."""
        until = self._clock.monotonic() + self._drain_seconds
        if outputs:
            _done, late = await asyncio.wait(outputs, timeout=self._drain_seconds)
            for task in late:
                task.cancel()
            for failure in await asyncio.gather(*outputs, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("output was lost", process=self.exec_id or self.container, error=repr(failure))
        await pumps.wait_taken(outlets, until=until, clock=self._clock)

    def _open_streams(self) -> tuple[list[Outlet], Inlet | None]:
        paths = [self.stdio.stdout] if self.stdio.terminal else [self.stdio.stdout, self.stdio.stderr]
        outlets: list[Outlet] = []
        try:
            for path in paths:
                outlets.append(Outlet(path))
            return outlets, Inlet(self.stdio.stdin) if self.stdio.stdin else None
        except OSError as error:
            self._close(outlets)
            raise CannotStart(f"opening containerd's FIFOs: {error}") from error

    def _close(self, outlets: list[Outlet]) -> None:
        for outlet in outlets:
            outlet.close()
        if self._inlet is not None:
            self._inlet.close()

    def _move(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise WrongState(f"process {self.exec_id or self.container} is {self.phase.name}, not to be {phase.name}")
        self.phase = phase


def explain(error: GuestRefused, spec: ProcessSpec) -> str:
    """The reason in runc's words, which containerd's and Kubernetes' users know and some programs look for."""
    command = spec.arguments[0]
    if not isinstance(error, ProcessNotStarted):
        return f"unable to start container process: {error}"
    reason = {
        errno.ENOENT: f"stat {command}: no such file or directory" if "/" in command else "",
        errno.EACCES: "permission denied",
        errno.ENOEXEC: "exec format error",
    }.get(error.errno, str(error))
    if error.errno == errno.ENOENT and not reason:
        reason = "executable file not found in $PATH"
    return f'unable to start container process: exec: "{command}": {reason}'
