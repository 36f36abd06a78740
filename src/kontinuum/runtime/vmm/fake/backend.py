"""Machines that are nothing but a sleeping process and a socket: enough to hold the sandbox's life against, in no time.

Honest in what it promises: processes really live and die, an agent really answers (but does nothing), disks run out and
are locked, prepared sizes are remembered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

from kontinuum.foundation import process, sockets
from kontinuum.runtime import layers
from kontinuum.runtime.guest import greeter
from kontinuum.runtime.guest.port import NobodyAnswers
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.vmm import writers
from kontinuum.runtime.vmm.port import DISK_BYTES, MachineNotStarted, MachineRefused, MachineSpec, Origin, Size

SLOTS = 8
_NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class FakeMachine:
    """A ``Machine``."""

    def __init__(self, child: process.Child, agent: asyncio.Server, *, directory: Path, origin: Origin) -> None:
        self._child = child
        self._agent = agent
        self._socket = directory / "agent.sock"
        self._origin = origin
        self.disks: dict[str, int] = {}
        """Slot → the image in it, open."""
        self.layers: dict[str, Path | None] = {}
        """Slot → where the layer in it was to be."""
        self.is_paused = False
        self.resumed = 0
        """How often."""
        self.is_full = asyncio.Event()
        """The host has no room for what it writes; set by tests."""

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def tap(self) -> Apart | None:
        return None

    async def dial_agent(self) -> socket.socket:
        if not self._child.is_running():
            raise NobodyAnswers("the machine has ended")
        return await sockets.dial_unix(self._socket)

    @property
    def born_layer(self) -> str:
        return ""

    async def attach_disk(self, image: Path, *, read_only: bool) -> str:
        if not self._child.is_running():
            raise MachineNotStarted("the machine has ended")
        if read_only and image.stat().st_size != DISK_BYTES:
            raise MachineRefused(f"{image}: a disk image must be exactly {DISK_BYTES} bytes (sparse); pad it first")
        slot = self._free_slot()
        file = os.open(image, os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR))
        try:
            if not read_only:
                writers.lock(file, image)
        except MachineRefused:
            os.close(file)
            raise
        self.disks[slot] = file
        return slot

    async def attach_layer(self, path: Path | None) -> str:
        if not self._child.is_running():
            raise MachineNotStarted("the machine has ended")
        slot = self._free_slot()
        self.disks[slot] = os.memfd_create("layer") if path is None else os.open(path, _NEW, 0o600)
        self.layers[slot] = path
        os.truncate(self.disks[slot], layers.BYTES)
        return slot

    async def detach_disk(self, slot: str) -> None:
        if slot in self.disks:
            os.close(self.disks.pop(slot))
            self.layers.pop(slot, None)

    def _free_slot(self) -> str:
        for slot in (f"slot{number}" for number in range(SLOTS)):
            if slot not in self.disks:
                return slot
        raise MachineRefused(f"this machine has {SLOTS} disks and all of them are in use")

    async def pause(self) -> None:
        self._child.signal(signal.SIGSTOP)
        self.is_paused = True

    async def resume(self) -> None:
        self.resumed += 1
        self._child.signal(signal.SIGCONT)
        self.is_paused = False

    async def wait_full(self) -> None:
        await self.is_full.wait()

    def is_sound(self) -> bool:
        return True

    def move(self, directory: Path) -> None:
        self._socket = directory / self._socket.name

    async def wait(self) -> int:
        return await self._child.wait()

    async def kill(self) -> None:
        self._child.signal(signal.SIGKILL, group=True)
        await self._child.wait()
        self._child.close()
        self._agent.close()
        self._socket.unlink(missing_ok=True)
        for slot in list(self.disks):
            await self.detach_disk(slot)


class FakeVmm:
    """A ``Vmm``."""

    brings_taps = False

    def __init__(self) -> None:
        self.machines: list[FakeMachine] = []
        self._prepared: set[tuple[int, int]] = set()

    async def start(self, spec: MachineSpec) -> FakeMachine:
        if spec.cpus < 1:
            raise MachineRefused(f"a machine needs at least one CPU, not {spec.cpus}")
        origin: Origin = "template" if (spec.memory_bytes, spec.cpus) in self._prepared else "cold"
        listener = sockets.listen_unix(spec.directory / "agent.sock")
        agent = await asyncio.start_unix_server(greeter.greet, sock=listener)
        child = process.spawn("sleep", "infinity")
        machine = FakeMachine(child, agent, directory=spec.directory, origin=origin)
        self.machines.append(machine)
        return machine

    def size(self, *, memory_bytes: int, cpus: int) -> Size:
        return Size(memory_bytes, cpus)

    async def prepare(self, *, memory_bytes: int, cpus: int) -> None:
        self._prepared.add((memory_bytes, cpus))
