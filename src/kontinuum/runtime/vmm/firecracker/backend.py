"""Firecracker as a VMM: clones of templates where there is one, cold boots where there is none.

Making a template: boot, wait until the agent is ready, pause, save a full snapshot. Cloning: a fresh process loads it,
its memory mapped privately from the file.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.sockets import NotListening, dial_unix
from kontinuum.runtime.jail.confine import Jail
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.vmm.accelerator import Accelerator
from kontinuum.runtime.vmm.choice import FIRECRACKER, MOST_CPUS
from kontinuum.runtime.vmm.cloning import AgentReady, CloningVmm, rounded
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.firecracker.api import Request
from kontinuum.runtime.vmm.firecracker.documents import Hardware
from kontinuum.runtime.vmm.firecracker.launcher import JailedLauncher, Launcher, Wish
from kontinuum.runtime.vmm.firecracker.machine import FirecrackerMachine, Launched
from kontinuum.runtime.vmm.port import MachineNotStarted, MachineRefused, MachineSpec, Origin, VmmMissing
from kontinuum.runtime.vmm.templates import Template, Templates

SOCKET_SECONDS = 10.0
"""Firecracker opens its API within milliseconds; on a host that swaps it may take seconds."""
POLL_SECONDS = 0.001
_SAID_LIMIT = 64 << 10


class Firecracker(CloningVmm[Hardware, FirecrackerMachine]):
    """A ``Vmm``."""

    @property
    def brings_taps(self) -> bool:
        return True

    def __init__(
        self,
        launcher: Launcher,
        templates: Templates,
        *,
        version: tuple[int, ...],
        layers: Layers,
        agent_ready: AgentReady,
        clock: Clock,
        patience: float = 0.0,
        disk_bytes_per_second: int = 0,
        network_bytes_per_second: int = 0,
    ) -> None:
        """``version`` is Firecracker's; the limits are as ``Hardware`` has them, the rest as ``CloningVmm`` has it."""
        super().__init__(templates, agent_ready=agent_ready, clock=clock, patience=patience)
        self._launcher = launcher
        self._version = version
        self._layers = layers
        self._disk_bytes_per_second = disk_bytes_per_second
        self._network_bytes_per_second = network_bytes_per_second

    async def start(self, spec: MachineSpec) -> FirecrackerMachine:
        if spec.tap is not None:
            raise MachineRefused("Firecracker opens its tap itself: a machine that is given one would not be reached")
        return await super().start(spec)

    def _hardware(self, memory_bytes: int, cpus: int) -> Hardware:
        if not 1 <= cpus <= MOST_CPUS:
            raise MachineRefused(
                f"a machine of Firecracker's has 1 to {MOST_CPUS} CPUs, not {cpus}; "
                "set runtime.maximum_cpus, or runtime.vmm: qemu"
            )
        return Hardware(
            memory_bytes=rounded(memory_bytes),
            cpus=cpus,
            version=self._version,
            disk_bytes_per_second=self._disk_bytes_per_second,
            network_bytes_per_second=self._network_bytes_per_second,
        )

    async def _boot(self, spec: MachineSpec, hardware: Hardware) -> FirecrackerMachine:
        return await self._bring_up(Wish(spec.directory), *_birth(hardware), origin="cold")

    async def _clone(
        self, directory: Path, tap: int | None, hardware: Hardware, template: Template
    ) -> FirecrackerMachine:
        machine = await self._bring_up(Wish(directory, template), documents.load(), origin="template")
        machine.shares = template
        return machine

    async def _make(self, hardware: Hardware, template: Template) -> None:
        wish = Wish(template.directory, template, saving=True)
        machine = await self._bring_up(wish, *_birth(hardware), origin="cold")
        try:
            await self._until_ready(machine)
            await machine.api.call(documents.pause(), documents.save())
        finally:
            await machine.kill()
        if template.memory.stat().st_size != hardware.memory_bytes:
            raise MachineNotStarted(f"Firecracker saved {template.memory.stat().st_size} bytes of the guest's memory")

    async def _bring_up(self, wish: Wish, *requests: Request, origin: Origin) -> FirecrackerMachine:
        """A process that has been told all of that, and whose machine runs."""
        machine = await self._spawn(wish, origin=origin)
        try:
            await machine.api.call(*requests)
            state = (await machine.api.call(Request("GET", "/"))).get("state")
            if state != "Running":
                raise MachineNotStarted(f"Firecracker says that a machine that it has started is {state!r}")
        except BaseException:
            await machine.kill()
            raise
        return machine

    async def _spawn(self, wish: Wish, *, origin: Origin) -> FirecrackerMachine:
        """Firecracker in its jail, with an API that answers."""
        with ExitStack() as undo, ExitStack() as ours:
            # What it says, its guest's console among it, fits a pipe that nobody empties, or is lost: a guest that
            # babbles fills nothing, and holds nothing up.
            said, output = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            ours.callback(os.close, said)
            ours.callback(os.close, output)
            locks, held = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            locks.setblocking(False)
            undo.callback(locks.close)
            ours.callback(held.close)
            launched = self._launcher.launch(wish, output=output, locks=held.fileno(), undo=undo)
            machine = FirecrackerMachine(
                launched, locks, origin=origin, layers=self._layers, on_end=undo.pop_all().close
            )
            try:
                await self._until_listening(launched, said=said)
            except BaseException:
                await machine.kill()
                raise
            return machine

    async def _until_listening(self, launched: Launched, *, said: int) -> None:
        """Raises MachineNotStarted with Firecracker's last words."""
        deadline = self._clock.monotonic() + SOCKET_SECONDS
        while not await _is_listening(launched):
            if not launched.child.is_running():
                words = process.last_words(_read_all(said)) or process.describe_exit(await launched.child.wait())
                raise MachineNotStarted(f"Firecracker did not start: {words}")
            if self._clock.monotonic() > deadline:
                raise MachineNotStarted(f"Firecracker's API did not open within {SOCKET_SECONDS:g} s")
            await self._clock.sleep(POLL_SECONDS)


async def find(
    *,
    guest: Path,
    templates: Path,
    accelerator: Accelerator,
    agent_ready: AgentReady,
    clock: Clock,
    jail: Jail,
    layers: Layers,
    patience: float = 0.0,
    disk_bytes_per_second: int = 0,
    network_bytes_per_second: int = 0,
) -> Firecracker:
    """The Firecracker of this host with the guest in ``guest``; the rest is as ``Firecracker`` takes it.

    Raises VmmMissing with what is missing, process.ProgramFailed if the program cannot even say its version.
    """
    if not (guest / "version").exists():
        raise VmmMissing(f"{guest} has no guest kernel and agent; make them with: make assets")
    if accelerator.name != "kvm":
        raise VmmMissing(f"Firecracker needs KVM, which does not work here: {accelerator.reason}")
    program = process.find_program(FIRECRACKER)
    if program is None:
        raise VmmMissing(
            f"{FIRECRACKER} is not on this host; put a release of it on the PATH, or set runtime.vmm: qemu"
        )
    said = (await process.run(program, "--version", timeout=30)).text.partition("\n")[0]
    version = documents.version_of(said)
    if version < documents.OLDEST:
        oldest = ".".join(map(str, documents.OLDEST))
        raise VmmMissing(f"{program} is {said or 'silent about its version'}; {oldest} or later is needed")
    return Firecracker(
        JailedLauncher(jail, program.resolve(), guest),
        Templates(templates, guest_version=(guest / "version").read_text(), vmm_version=said),
        version=version,
        layers=layers,
        agent_ready=agent_ready,
        clock=clock,
        patience=patience,
        disk_bytes_per_second=disk_bytes_per_second,
        network_bytes_per_second=network_bytes_per_second,
    )


def _birth(hardware: Hardware) -> list[Request]:
    return [*documents.configuration(hardware), documents.start()]


async def _is_listening(launched: Launched) -> bool:
    try:
        opened = launched.view.open_socket(documents.API_SOCKET)
    except (OSError, NotListening):
        return False
    try:
        (await dial_unix(Path(f"/proc/self/fd/{opened}"))).close()
    except OSError:
        return False
    finally:
        os.close(opened)
    return True


def _read_all(pipe: int) -> bytes:
    try:
        return os.read(pipe, _SAID_LIMIT)
    except BlockingIOError:
        return b""
