"""One machine that waits, and the process that has it: a pod's shim that does not know its pod yet.

    MAKING ── cloned, rehearsed, paused ──▶ WAITING ── a pod's start called ──▶ the pod's shim
       │ cannot                                │ its machine died; its maker ended; renamed by somebody who then died
       └───────────────────────────────────────┴──▶ OVER

See ``pool`` for how a pod takes it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from kontinuum.foundation import sockets
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.foundation.tasks import cancel
from kontinuum.runtime import records
from kontinuum.runtime.guest.port import Dial, Guest
from kontinuum.runtime.records import SandboxRecord
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.vmm.port import Machine, MachineSpec, Size, Vmm
from kontinuum.runtime.warm import pool as pools
from kontinuum.runtime.warm.machine import Warm
from kontinuum.runtime.warm.pool import Pool

log = structlog.get_logger(__name__)

END_SIGNAL = signal.SIGUSR1
"""Ends one that waits. Not SIGTERM: a signal that was on its way when a pod came must not end the pod."""
MAKE_SECONDS = 180.0
_HEARING_SECONDS = 0.1
_HEARING_TURNS = 10
"""Of the loop, from a connection that waits to be accepted to its ``hear``: asyncio takes four."""
_NICE = 10


class NotWarm(Retryable):
    """The machine could not be made; the message says why. Pods start without."""


@dataclass(frozen=True, slots=True)
class Making:
    """How a machine is made ready to wait."""

    vmm: Vmm
    connect: Callable[[Dial], Awaitable[Guest]]
    rehearse: Callable[[Machine, Guest], Awaitable[None]]
    open_tap: Callable[[], Apart | None]
    count: Callable[[str], None]
    """Hears what became of it: ``made`` or ``failed``."""


@dataclass(frozen=True, slots=True)
class Call:
    """A pod that has come, and the line to who brought it."""

    request: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def answer(self) -> None:
        """From now on this process is the pod's shim."""
        self.writer.write(pools.TAKEN)

    def refuse(self) -> None:
        """Whoever brought the pod starts it without us."""
        self.writer.close()

    async def is_known(self) -> bool:
        """Whether containerd was told of us; False if who should have done it has died."""
        with suppress(asyncio.IncompleteReadError, OSError):
            return await self.reader.readexactly(len(pools.KNOWN)) == pools.KNOWN
        return False


async def stand_by(pool: Pool, size: Size, making: Making) -> tuple[Call, Warm] | None:
    """Make a machine and wait for its pod. None if none came; then nothing is left of the machine.

    Raises NotWarm. Must run in a process of its own, which takes END_SIGNAL for itself.
    """
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(END_SIGNAL, over.set)
    directory = pool.begin(size)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    waiting = asyncio.create_task(over.wait())
    warm: Warm | None = None
    call: Call | None = None
    try:
        warm = await _unless(waiting, _make(directory, size, making))
        if warm is not None:
            call = await _wait(pool, directory, warm, waiting, making)
        return None if warm is None or call is None else (call, warm)
    finally:
        await cancel(waiting)
        if call is None:
            await _end(handle, warm)
        os.close(handle)


async def _make(directory: Path, size: Size, making: Making) -> Warm:
    me = records.process_record(os.getpid())
    tap = making.open_tap()
    spec = MachineSpec(
        id=directory.name,
        memory_bytes=size.memory_bytes,
        cpus=size.cpus,
        tap=tap.open_descriptor if tap is not None else None,
        mac="",
        directory=directory,
    )
    machine: Machine | None = None
    try:
        async with asyncio.timeout(MAKE_SECONDS):
            machine = await making.vmm.start(spec)
            it = records.process_record(machine.pid)
            records.write(directory, SandboxRecord("", tuple(one for one in (me, it) if one is not None)))
            if machine.origin != "template":
                raise NotWarm("there is no template of its size: only what was tried before waits for pods")
            _slow_down(machine.pid)
            guest = await making.connect(machine.dial_agent)
            await making.rehearse(machine, guest)
            await machine.pause()
    except BaseException as error:
        if machine is not None:
            await machine.kill()
        if tap is not None:
            tap.close()
        if isinstance(error, (TimeoutError, KontinuumError, OSError)):
            making.count("failed")
            raise NotWarm(str(error) or repr(error)) from error
        raise
    _catch_up(machine.pid)
    gc.collect()
    gc.freeze()
    return Warm(machine, guest, tap)


async def _wait(pool: Pool, directory: Path, warm: Warm, over: asyncio.Task[bool], making: Making) -> Call | None:
    door = _Door(directory / pools.SOCKET)
    listener = sockets.listen_unix(directory / pools.SOCKET)
    server = await asyncio.start_unix_server(door.hear, sock=listener)
    try:
        door.socket = pool.offer(directory) / pools.SOCKET
        log.info("a machine waits for its pod", machine=warm.machine.pid)
        making.count("made")
        died = asyncio.create_task(_death(warm.machine))
        try:
            anything: set[asyncio.Future[Any]] = {over, died, door.taken}
            await asyncio.wait(anything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(died)
        return door.taken.result() if door.taken.done() else None
    finally:
        server.close()


class _Door:
    """Where a pod comes in: the first that has something to say."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.taken: asyncio.Future[Call | None] = asyncio.get_running_loop().create_future()
        """None: somebody has taken the machine, and died before it said for which pod."""
        self._callers = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers += 1
        try:
            request = await _request(reader)
        finally:
            self._callers -= 1
        if request is not None and not self.taken.done():
            self.taken.set_result(Call(request, reader, writer))
            return
        writer.close()
        await asyncio.sleep(_HEARING_SECONDS)
        if self.socket.exists():
            return
        # Somebody has taken it, and had called before: that call is heard within some turns of the loop, unless it was
        # this one.
        for _ in range(_HEARING_TURNS):
            await asyncio.sleep(0)
        if self._callers == 0 and not self.taken.done():
            self.taken.set_result(None)


async def _request(reader: asyncio.StreamReader) -> bytes | None:
    with suppress(asyncio.IncompleteReadError, OSError):
        (length,) = pools.LENGTH.unpack(await reader.readexactly(pools.LENGTH.size))
        if length <= pools.REQUEST_LIMIT:
            return await reader.readexactly(length)
    return None


async def _unless(over: asyncio.Task[bool], making: Coroutine[None, None, Warm]) -> Warm | None:
    """The machine, unless it is over before. Raises NotWarm."""
    made = asyncio.create_task(making)
    try:
        await asyncio.wait({over, made}, return_when=asyncio.FIRST_COMPLETED)
        return made.result() if made.done() else None
    finally:
        await cancel(made)


async def _death(machine: Machine) -> int:
    return await machine.wait()


async def _end(handle: int, warm: Warm | None) -> None:
    """Whatever the directory is called by now."""
    if warm is not None:
        await warm.machine.kill()
        await warm.guest.close()
        if warm.tap is not None:
            warm.tap.close()
    with suppress(OSError):
        shutil.rmtree(Path(f"/proc/self/fd/{handle}").readlink(), ignore_errors=True)


def _slow_down(machine: int) -> None:
    """Pods that start now come first. The VMM alone: we hold locks now and then that they wait for. Only where it can
    be taken back: not every root may."""
    try:
        for nice in (_NICE, 0, _NICE):
            _nice(machine, nice)
    except PermissionError:
        return
    _nice_session(_NICE)


def _catch_up(machine: int) -> None:
    """A pod is about to depend on it."""
    _nice_session(0)
    with suppress(PermissionError):
        _nice(machine, 0)


def _nice(process: int, nice: int) -> None:
    """All threads of a process. Raises PermissionError."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)


def _nice_session(nice: int) -> None:
    """Where the kernel shares processors out by session (autogroup(7)), a process's own niceness does not matter."""
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))
