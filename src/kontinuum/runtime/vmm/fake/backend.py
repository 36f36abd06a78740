"""Machines that are nothing but a sleeping process and a socket: enough to hold the sandbox's life against, in no time.

Honest in what it promises: processes really live and die, sockets are really there, disks run out, prepared sizes are
remembered. Who needs an agent behind the socket serves one on ``listener``.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from kontinuum.foundation import process, sockets
from kontinuum.runtime.vmm.port import MachineRefused, MachineSpec, Origin

SLOTS = 4


class FakeMachine:
    """A ``Machine``."""

    def __init__(self, child: process.Child, listener: socket.socket, *, directory: Path, origin: Origin) -> None:
        self._child = child
        self._directory = directory
        self._origin = origin
        self.listener = listener
        self.disks: dict[str, Path] = {}

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
        free = [slot for slot in (f"slot{number}" for number in range(SLOTS)) if slot not in self.disks]
        if not free:
            raise MachineRefused(f"this machine has {SLOTS} disks and all of them are in use")
        self.disks[free[0]] = image
        return free[0]

    async def detach_disk(self, slot: str) -> None:
        self.disks.pop(slot, None)

    async def wait(self) -> int:
        return await self._child.wait()

    async def kill(self) -> None:
        self._child.signal(signal.SIGKILL, group=True)
        await self._child.wait()
        self._child.close()
        self.listener.close()
        self.agent_socket.unlink(missing_ok=True)


class FakeVmm:
    """A ``Vmm``."""

    def __init__(self) -> None:
        self.machines: list[FakeMachine] = []
        self._prepared: set[tuple[int, int]] = set()

    async def start(self, spec: MachineSpec) -> FakeMachine:
        if spec.cpus < 1:
            raise MachineRefused(f"a machine needs at least one CPU, not {spec.cpus}")
        origin: Origin = "template" if (spec.memory_bytes, spec.cpus) in self._prepared else "cold"
        listener = sockets.listen_unix(spec.directory / "agent.sock")
        child = process.spawn("sleep", "infinity")
        machine = FakeMachine(child, listener, directory=spec.directory, origin=origin)
        self.machines.append(machine)
        return machine

    async def prepare(self, *, memory_bytes: int, cpus: int) -> None:
        self._prepared.add((memory_bytes, cpus))
