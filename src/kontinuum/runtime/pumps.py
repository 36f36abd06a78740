"""Standard streams between containerd's FIFOs and the guest, without losing a byte and without holding many.

A FIFO is opened read-write, so that neither end of it ever sees containerd's restarts as an end of file. Bytes move one
chunk at a time: a reader that is slow holds up the writer inside the guest, and nobody's memory fills.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.runtime.guest.port import GuestLost, GuestProcess, GuestRefused

log = structlog.get_logger(__name__)

_CHUNK = 1 << 16


class Outlet:
    """A FIFO that containerd reads: a process's standard output or error."""

    def __init__(self, path: str) -> None:
        """``path`` is empty if nobody listens; what is written is dropped then. Raises OSError if it is no FIFO."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) if path else -1

    async def write(self, data: bytes) -> None:
        """Returns when the FIFO has taken all of it."""
        view = memoryview(data)
        while view and self._descriptor >= 0:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                await _wait_writable(self._descriptor)

    def unread(self) -> int:
        """Bytes that containerd has not taken yet."""
        if self._descriptor < 0:
            return 0
        return int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)), "little")

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Inlet:
    """A FIFO that containerd writes: a process's standard input. It ends when ``finish`` was called and it is empty."""

    def __init__(self, path: str) -> None:
        """Raises OSError if there is no FIFO at ``path``."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._finished = asyncio.Event()

    def finish(self) -> None:
        """containerd will write no more; what it has written is still to be read."""
        self._finished.set()

    async def read(self) -> bytes:
        """Some bytes, or none at the end."""
        while True:
            try:
                return os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                if self._finished.is_set():
                    return b""
                await self._wait_readable_or_finished()

    async def _wait_readable_or_finished(self) -> None:
        loop = asyncio.get_running_loop()
        stirred: asyncio.Future[None] = loop.create_future()
        finished = loop.create_task(self._finished.wait())
        finished.add_done_callback(lambda _task: _settle(stirred))
        loop.add_reader(self._descriptor, _settle, stirred)
        try:
            await stirred
        finally:
            loop.remove_reader(self._descriptor)
            finished.cancel()

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def pump_output(source: AsyncIterator[bytes], outlet: Outlet) -> None:
    """Everything the process writes, until it has closed the stream or the machine is gone."""
    with suppress(GuestLost):
        async for data in source:
            await outlet.write(data)


async def pump_input(inlet: Inlet, process: GuestProcess) -> None:
    """Everything containerd writes, then the end. A process that reads no more is none of our business."""
    with suppress(GuestLost, GuestRefused):
        while data := await inlet.read():
            await process.write_stdin(data)
        await process.close_stdin()


async def wait_taken(outlets: list[Outlet], *, until: float, clock: Clock) -> bool:
    """Wait until containerd has read all that was written; False if it had not by ``until`` (monotonic seconds).

    containerd closes its ends as soon as it hears of an exit: what is still in a FIFO then is lost.
    """
    pause = 0.0005
    while any(outlet.unread() for outlet in outlets):
        if clock.monotonic() >= until:
            log.warning("giving up on output that containerd does not take")
            return False
        await clock.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


async def _wait_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _settle, writable)
    try:
        await writable
    finally:
        loop.remove_writer(descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
