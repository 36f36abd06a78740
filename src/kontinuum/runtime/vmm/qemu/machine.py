"""One QEMU process: its life, its monitor, and the disks that are put into its slots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from kontinuum.foundation import process, sockets
from kontinuum.runtime.guest.port import NobodyAnswers
from kontinuum.runtime.layers import Layers, copy_to, give_name
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.vmm import writers
from kontinuum.runtime.vmm.port import DISK_BYTES, MachineNotStarted, MachineRefused, Origin
from kontinuum.runtime.vmm.qemu.arguments import (
    BORN,
    BORN_FILES,
    LAYER,
    NO_LAYER,
    SCSI,
    SCSI_DISKS,
    SLOTS,
    STAND_STILL,
    TELL,
    WhenFull,
    block_node,
    scsi_disk,
)
from kontinuum.runtime.vmm.templates import Template

SLOT = "slot"
SLOT_NAMES = tuple(f"{SLOT}{number}" for number in range(SLOTS))
MONITOR_SECONDS = 30.0
"""QEMU opens its monitor within milliseconds; on a host that swaps, or at a load of 60 on two processors, it takes more
than ten seconds. One that ends is noticed at once."""
DYING_SECONDS = 1.0
PAUSE_SECONDS = 0.005
COMMAND_SECONDS = 60.0
"""A monitor command that takes longer has been swallowed: QEMU is not believed to be well only because it is silent."""
AGENT_SOCKET, MONITOR_SOCKET = SOCKETS = ("agent.sock", "qmp.sock")


class QemuMachine:
    """A ``Machine``. Made by ``Qemu.start``; the process is our child and dies with us."""

    def __init__(
        self,
        child: process.Child,
        monitor: QMPClient,
        *,
        directory: Path,
        origin: Origin,
        born: int,
        layers: Layers,
        on_end: Callable[[], None],
    ) -> None:
        """``born`` is the open image of its first layer, which has no name yet and is closed here. ``on_end`` is called
        when the process has been killed and is gone."""
        self._child = child
        self._monitor = monitor
        self._directory = directory
        self._origin = origin
        self._on_end = on_end
        self._occupied: dict[str, str] = {LAYER: BORN}
        """Slot or SCSI disk → the block node in it."""
        self.shares: Template | None = None
        """The template whose memory it maps."""
        self._swapping = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._ended = False
        self._nodes = BORN_FILES
        self._born: int | None = born
        self._layers = layers

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def tap(self) -> Apart | None:
        return None

    @property
    def born_layer(self) -> str:
        return LAYER

    async def dial_agent(self) -> socket.socket:
        try:
            return await sockets.dial_unix(self._directory / AGENT_SOCKET)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NobodyAnswers(f"the agent's port: {error}") from error

    async def attach_disk(self, image: Path, *, read_only: bool) -> str:
        if read_only and image.stat().st_size != DISK_BYTES:
            raise MachineRefused(f"{image}: a disk image must be exactly {DISK_BYTES} bytes (sparse); pad it first")
        async with self._swapping:
            place = self._free_place(SLOT_NAMES if read_only else ())
            with image.open("rb" if read_only else "r+b", buffering=0) as file:
                if not read_only:
                    writers.lock(file.fileno(), image)
                await self._fill(place, file.fileno(), read_only=read_only, when_full=TELL)
        return place

    async def attach_layer(self, path: Path | None) -> str:
        async with self._swapping:
            if self._born is None:
                await self._layers.prepare()
                return await self._attach_copy(path)
            if path is not None and not give_name(self._born, path):
                await self._replace_born(path)
            os.close(self._born)
            self._born = None
            return LAYER

    async def _attach_copy(self, path: Path | None) -> str:
        """A new layer for a guest that has mounted none yet where it goes."""
        place = self._free_place((LAYER,))
        file = self._layers.copy(self._layers.empty)
        try:
            if path is not None and not give_name(file, path):
                named = copy_to(file, path)
                os.close(file)
                file = named
            await self._fill(place, file, read_only=False, when_full=STAND_STILL)
        finally:
            os.close(file)
        return place

    async def _replace_born(self, path: Path) -> None:
        """Put a copy with a name in place of the first layer's image, which the guest has mounted."""
        assert self._born is not None
        # What the guest has written, and no more: while it stands still, nothing is on its way.
        await self.execute("stop")
        try:
            file = copy_to(self._born, path)
            try:
                node = await self._add_node(file, read_only=False)
            finally:
                os.close(file)
            await self._exchange(LAYER, node)
        finally:
            await self.execute("cont")
        self._occupied[LAYER] = node
        await self._delete_node(BORN)

    async def detach_disk(self, slot: str) -> None:
        async with self._swapping:
            if slot not in self._occupied:
                return
            if slot.startswith(SCSI):
                await self.execute("device_del", id=slot)
            else:
                await self._put(slot, NO_LAYER if slot == LAYER else f"blank{slot.removeprefix(SLOT)}")
            await self._delete_node(self._occupied.pop(slot))

    async def pause(self) -> None:
        await self.execute("stop")

    async def resume(self) -> None:
        await self.execute("cont")

    async def wait_full(self) -> None:
        # The event comes when the state is known.
        with self._monitor.listener("STOP") as stopped:
            while (await self.execute("query-status"))["status"] != "io-error":
                await stopped.get()

    def is_sound(self) -> bool:
        return self.shares is None or self.shares.is_untouched()

    def move(self, directory: Path) -> None:
        self._directory = directory

    async def wait(self) -> int:
        return await self._child.wait()

    async def kill(self) -> None:
        async with self._ending:
            if self._ended:
                # Its number may be another process's by now.
                return
            self._child.signal(signal.SIGKILL, group=True)
            await self._child.wait()
            self._ended = True
            await close_monitor(self._monitor)
            self._child.close()
            if self._born is not None:
                os.close(self._born)
                self._born = None
            remove_sockets(self._directory)
            self._on_end()

    async def execute(self, command: str, **arguments: Any) -> Any:
        """One monitor command. Raises MachineRefused (QEMU says no), MachineNotStarted (QEMU is gone)."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._monitor.execute(command, arguments or None)
        except ExecuteError as error:
            raise MachineRefused(f"QEMU refused {command}: {error}") from error
        except TimeoutError as error:
            raise MachineNotStarted(f"QEMU has not answered {command} for {COMMAND_SECONDS:g} s") from error
        except (QMPError, OSError, EOFError) as error:
            raise MachineNotStarted(f"QEMU went away during {command}: {error}") from error

    async def hand_over(self, descriptor: int, *, name: str) -> None:
        """Give QEMU a copy of an open file, known to it as ``fd:NAME``. Raises as ``execute``."""
        self._send(descriptor)
        await self.execute("getfd", fdname=name)

    def _send(self, descriptor: int) -> None:
        """Along with the next command. Raises MachineNotStarted."""
        try:
            self._monitor.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise MachineNotStarted(f"QEMU went away before it was given a file: {error}") from error

    def _free_place(self, preferred: Sequence[str]) -> str:
        """One of these, or on the SCSI bus. Raises MachineRefused."""
        places = [*preferred, *(f"{SCSI}{target}" for target in range(SCSI_DISKS))]
        for place in places:
            if place not in self._occupied:
                return place
        raise MachineRefused(f"this machine has room for {len(places)} disks and all of it is in use")

    async def _fill(self, place: str, file: int, *, read_only: bool, when_full: WhenFull) -> None:
        node = await self._add_node(file, read_only=read_only)
        if place.startswith(SCSI):
            await self.execute("device_add", **scsi_disk(int(place.removeprefix(SCSI)), node=node, when_full=when_full))
        else:
            await self._put(place, node)
        self._occupied[place] = node

    async def _add_node(self, file: int, *, read_only: bool) -> str:
        """A block node of the open image. QEMU sees none of the host's files; it gets this one, as it may use it."""
        self._nodes += 1
        node = f"image{self._nodes}"
        self._send(file)
        await self.execute("add-fd", **{"fdset-id": self._nodes})
        try:
            await self.execute("blockdev-add", **block_node(self._nodes, name=node, read_only=read_only))
        finally:
            await self.execute("remove-fd", **{"fdset-id": self._nodes})
        return node

    async def _delete_node(self, node: str) -> None:
        """An unplugged SCSI disk lets go of its node a moment later, when all of QEMU's threads know of it."""
        async with asyncio.timeout(COMMAND_SECONDS):
            while True:
                try:
                    await self.execute("blockdev-del", **{"node-name": node})
                    break
                except MachineRefused as error:
                    if "is in use" not in str(error):
                        raise
                await asyncio.sleep(PAUSE_SECONDS)
        if node == BORN:
            # It was given with the command line, and would be kept open, and so kept on the host's disk, for ever.
            await self.execute("remove-fd", **{"fdset-id": BORN_FILES})

    async def _put(self, slot: str, node: str) -> None:
        # Only a stopped machine lets go of a drive that it did not eject; the pause is some milliseconds.
        await self.execute("stop")
        try:
            await self._exchange(slot, node)
        finally:
            await self.execute("cont")

    async def _exchange(self, slot: str, node: str) -> None:
        await self.execute("qom-set", path=f"/machine/peripheral/{slot}", property="drive", value=node)


def remove_sockets(directory: Path) -> None:
    """Of a machine that is gone."""
    for name in SOCKETS:
        (directory / name).unlink(missing_ok=True)


async def connect_monitor(child: process.Child, path: Path, *, errors: int) -> QMPClient:
    """The monitor of a QEMU that has just been started, and writes its complaints to the descriptor ``errors``.

    ``path`` is listened on already, by QEMU alone as soon as it runs: the call waits until it is taken, or is cut off
    when QEMU ends. Raises MachineNotStarted with QEMU's last words.
    """
    monitor = QMPClient()
    try:
        async with asyncio.timeout(MONITOR_SECONDS):
            await monitor.connect(str(path))
        return monitor
    except TimeoutError as error:
        raise MachineNotStarted(f"QEMU's monitor did not open within {MONITOR_SECONDS:g} s") from error
    except (QMPError, OSError, EOFError) as error:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DYING_SECONDS):
                await child.wait()
        said = process.last_words(os.pread(errors, 1 << 16, 0)) or f"it said nothing; {error}"
        raise MachineNotStarted(f"QEMU did not start: {said}") from error


async def close_monitor(monitor: QMPClient) -> None:
    """Let go of a monitor whose QEMU may be dead; its death is what ``disconnect`` then raises."""
    with contextlib.suppress(QMPError, OSError, EOFError):
        await monitor.disconnect()
