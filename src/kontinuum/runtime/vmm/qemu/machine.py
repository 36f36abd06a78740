"""One QEMU process: its life, its monitor, and the disks that are put into its slots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from kontinuum.foundation import process, sockets
from kontinuum.foundation.clock import Clock
from kontinuum.runtime.vmm.port import DISK_BYTES, MachineNotStarted, MachineRefused, Origin
from kontinuum.runtime.vmm.qemu.arguments import SLOTS, block_node

MONITOR_SECONDS = 10.0
"""QEMU opens its monitor within milliseconds; on a host that swaps it may take seconds."""
POLL_SECONDS = 0.001


class QemuMachine:
    """A ``Machine``. Made by ``Qemu.start``; the process is our child and dies with us."""

    def __init__(self, child: process.Child, monitor: QMPClient, *, directory: Path, origin: Origin) -> None:
        self._child = child
        self._monitor = monitor
        self._directory = directory
        self._origin = origin
        self._occupied: dict[int, str] = {}
        """Slot → the block node in it."""
        self._swapping = asyncio.Lock()
        self._nodes = 0

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def agent_socket(self) -> Path:
        return self._directory / "agent.sock"

    async def attach_disk(self, image: Path, *, read_only: bool) -> str:
        if not read_only:
            raise MachineRefused(f"{image}: the disks of a microVM are read-only images")
        if image.stat().st_size != DISK_BYTES:
            raise MachineRefused(f"{image}: a disk image must be exactly {DISK_BYTES} bytes (sparse); pad it first")
        async with self._swapping:
            free = sorted(set(range(SLOTS)) - self._occupied.keys())
            if not free:
                raise MachineRefused(f"this machine has {SLOTS} disks and all of them are in use")
            slot = free[0]
            self._nodes += 1
            node = f"image{self._nodes}"
            await self.execute("blockdev-add", **block_node(image, name=node))
            await self._put(slot, node)
            self._occupied[slot] = node
        return f"slot{slot}"

    async def detach_disk(self, slot: str) -> None:
        async with self._swapping:
            number = int(slot.removeprefix("slot"))
            if number in self._occupied:
                await self._put(number, f"blank{number}")
                await self.execute("blockdev-del", **{"node-name": self._occupied.pop(number)})

    async def wait(self) -> int:
        return await self._child.wait()

    async def kill(self) -> None:
        self._child.signal(signal.SIGKILL, group=True)
        await self._child.wait()
        await close_monitor(self._monitor)
        self._child.close()
        for name in ("agent.sock", "qmp.sock"):
            (self._directory / name).unlink(missing_ok=True)

    async def execute(self, command: str, **arguments: Any) -> Any:
        """One monitor command. Raises MachineRefused (QEMU says no), MachineNotStarted (QEMU is gone)."""
        return await execute(self._monitor, command, **arguments)

    async def _put(self, slot: int, node: str) -> None:
        # Only a stopped machine lets go of a drive that it did not eject; the pause is some milliseconds.
        await self.execute("stop")
        await self.execute("qom-set", path=f"/machine/peripheral/slot{slot}", property="drive", value=node)
        await self.execute("cont")


async def execute(monitor: QMPClient, command: str, **arguments: Any) -> Any:
    """One monitor command; see ``QemuMachine.execute``."""
    try:
        return await monitor.execute(command, arguments or None)
    except ExecuteError as error:
        raise MachineRefused(f"QEMU refused {command}: {error}") from error
    except (QMPError, OSError, EOFError) as error:
        raise MachineNotStarted(f"QEMU went away during {command}: {error}") from error


async def hand_over(monitor: QMPClient, descriptor: int, *, name: str) -> None:
    """Give QEMU a copy of an open file, known to it as ``fd:NAME``; its sandbox may not run a program for that."""
    monitor.send_fd_scm(descriptor)
    await execute(monitor, "getfd", fdname=name)


async def connect_monitor(child: process.Child, path: Path, *, errors: int, clock: Clock) -> QMPClient:
    """The monitor of a QEMU that has just been started, and writes its complaints to the descriptor ``errors``.

    Raises MachineNotStarted with QEMU's last words.
    """
    sockets.check_path(path)
    deadline = clock.monotonic() + MONITOR_SECONDS
    while True:
        # The file is there a moment before QEMU listens on it; and to knock first would use up the one connection.
        if path.is_socket():
            monitor = QMPClient()
            try:
                await monitor.connect(str(path))
                return monitor
            except (QMPError, OSError, EOFError) as error:
                if not (isinstance(error, ConnectError) and isinstance(error.exc, ConnectionRefusedError)):
                    raise MachineNotStarted(f"QEMU's monitor does not answer: {error}") from error
        if not child.is_running():
            said = process.last_words(os.pread(errors, 1 << 16, 0)) or "it said nothing"
            raise MachineNotStarted(f"QEMU ended at once: {said}")
        if clock.monotonic() > deadline:
            raise MachineNotStarted(f"QEMU's monitor did not open within {MONITOR_SECONDS:g} s")
        await clock.sleep(POLL_SECONDS)


async def close_monitor(monitor: QMPClient) -> None:
    """Let go of a monitor whose QEMU may be dead; its death is what ``disconnect`` then raises."""
    with contextlib.suppress(QMPError, OSError, EOFError):
        await monitor.disconnect()
