"""QEMU as a VMM: clones of templates where there is one, cold boots where there is none.

Making a template: boot with the memory in a file, wait until the agent is ready, stop, save the devices' state (QEMU's
migration with ``x-ignore-shared``: memory stays where it is). Cloning: the same devices, the same memory file mapped
privately, the state loaded, continue.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from qemu.qmp import QMPClient

from kontinuum.foundation import process, sockets
from kontinuum.foundation.clock import Clock
from kontinuum.runtime import taps
from kontinuum.runtime.jail.confine import READ_ONLY_LIBRARY, Jail
from kontinuum.runtime.layers import Layers, copy_to
from kontinuum.runtime.vmm.accelerator import Accelerator
from kontinuum.runtime.vmm.cloning import LOAD_SECONDS, AgentReady, CloningVmm, rounded
from kontinuum.runtime.vmm.port import MachineNotStarted, MachineRefused, MachineSpec, Origin, VmmMissing
from kontinuum.runtime.vmm.qemu import arguments
from kontinuum.runtime.vmm.qemu.machine import MONITOR_SOCKET, SOCKETS, QemuMachine, connect_monitor, remove_sockets
from kontinuum.runtime.vmm.templates import Template, Templates

PROGRAM = "qemu-system-x86_64"
SAVE_SECONDS = 60.0
POLL_SECONDS = 0.0005
STREAM = "fd:state"


class Qemu(CloningVmm[arguments.Hardware, QemuMachine]):
    """A ``Vmm``."""

    @property
    def brings_taps(self) -> bool:
        return False

    def __init__(
        self,
        *,
        guest: Path,
        templates: Path,
        accelerator: Accelerator,
        agent_ready: AgentReady,
        clock: Clock,
        program: Path,
        version: str,
        jail: Jail,
        layers: Layers,
        patience: float = 0.0,
    ) -> None:
        """``guest`` holds vmlinux, initramfs.cpio and version. ``version`` is QEMU's: saved state belongs to it.
        The rest is as ``CloningVmm`` has it."""
        guest_version = (guest / "version").read_text()
        found = Templates(templates, guest_version=guest_version, vmm_version=version)
        super().__init__(found, agent_ready=agent_ready, clock=clock, patience=patience)
        self._guest = guest
        self._accelerator = accelerator.name
        self._program = program
        self._jail = jail
        self._layers = layers
        self._library = jail.program.with_name(READ_ONLY_LIBRARY)
        self._tsc_khz = _tsc_khz()

    def _hardware(self, memory_bytes: int, cpus: int) -> arguments.Hardware:
        if cpus < 1:
            raise MachineRefused(f"a machine needs at least one CPU, not {cpus}")
        return arguments.Hardware(accelerator=self._accelerator, memory_bytes=rounded(memory_bytes), cpus=cpus)

    def _boot_from(self, memory: Path | None) -> arguments.Boot:
        kernel, initramfs = self._guest / "vmlinux", self._guest / "initramfs.cpio"
        return arguments.Boot(kernel=kernel, initramfs=initramfs, tsc_khz=self._tsc_khz, memory=memory)

    async def _boot(self, spec: MachineSpec, hardware: arguments.Hardware) -> QemuMachine:
        await self._layers.prepare()
        layer = self._layers.copy(self._layers.empty)
        birth = self._boot_from(None)
        return await self._spawn(hardware, birth, spec.directory, layer=layer, tap=spec.tap, origin="cold")

    async def _clone(
        self, directory: Path, tap: int | None, hardware: arguments.Hardware, template: Template
    ) -> QemuMachine:
        birth = arguments.Clone(memory=template.memory, library=self._library)
        await self._layers.prepare()
        layer = self._layers.copy(template.layer)
        machine = await self._spawn(hardware, birth, directory, layer=layer, tap=tap, origin="template")
        machine.shares = template
        try:
            await _keep_memory_out_of_the_state(machine)
            await machine.execute("migrate-set-parameters", **{"announce-rounds": 0})
            async with _stream(machine) as (_, into):
                await machine.execute("migrate-incoming", uri=STREAM)
                into.write(template.state.read_bytes())
                into.write_eof()
                await self._until_loaded(machine)
            await machine.execute("cont")
        except BaseException:
            await machine.kill()
            raise
        return machine

    async def _until_loaded(self, machine: QemuMachine) -> None:
        deadline = self._clock.monotonic() + LOAD_SECONDS
        while (status := (await machine.execute("query-status"))["status"]) == "inmigrate":
            if self._clock.monotonic() > deadline:
                raise MachineNotStarted(f"the template's state was not loaded within {LOAD_SECONDS:g} s")
            await self._clock.sleep(POLL_SECONDS)
        if status not in ("paused", "running", "postmigrate"):
            raise MachineNotStarted(f"after loading the template the machine is {status}")

    async def _make(self, hardware: arguments.Hardware, template: Template) -> None:
        template.memory.touch(mode=0o600)
        os.truncate(template.memory, hardware.memory_bytes)
        birth = self._boot_from(template.memory)
        await self._layers.prepare()
        with self._layers.empty.open("rb", buffering=0) as empty:
            layer = copy_to(empty.fileno(), template.layer)
        machine = await self._spawn(hardware, birth, template.directory, layer=layer, tap=None, origin="cold")
        try:
            await self._until_ready(machine)
            await machine.execute("stop")
            await _keep_memory_out_of_the_state(machine)
            async with _stream(machine) as (out_of, _):
                await machine.execute("migrate", uri=STREAM)
                template.state.write_bytes(await _saved(out_of))
            await self._until_saved(machine)
        finally:
            await machine.kill()

    async def _until_saved(self, machine: QemuMachine) -> None:
        deadline = self._clock.monotonic() + SAVE_SECONDS
        while (status := (await machine.execute("query-migrate")).get("status")) != "completed":
            if status == "failed" or self._clock.monotonic() > deadline:
                raise MachineNotStarted(f"saving the template's state: {status}")
            await self._clock.sleep(0.01)

    async def _spawn(
        self,
        hardware: arguments.Hardware,
        birth: arguments.Birth,
        directory: Path,
        *,
        layer: int,
        tap: int | None,
        origin: Origin,
    ) -> QemuMachine:
        """QEMU in its jail, with a monitor that answers; its sockets are made in ``directory``. ``layer`` is the open
        image of its first layer, and closed by whoever gets it."""
        # Not a pipe: nobody would read it while the machine runs, and a full one would stop QEMU.
        with ExitStack() as undo, ExitStack() as ours:
            undo.callback(os.close, layer)
            errors = os.memfd_create("qemu-errors", os.MFD_CLOEXEC)
            ours.callback(os.close, errors)
            user = self._jail.users.claim(directory)
            undo.callback(self._jail.users.release, user)
            undo.callback(remove_sockets, directory)
            child = self._spawn_process(hardware, birth, directory, user=user, layer=layer, tap=tap, errors=errors)
            monitor = await self._monitor_of(child, directory / MONITOR_SOCKET, errors=errors)
            undo.pop_all()
        release = partial(self._jail.users.release, user)
        return QemuMachine(
            child,
            monitor,
            directory=directory,
            origin=origin,
            born=layer,
            layers=self._layers,
            on_end=release,
        )

    def _spawn_process(
        self,
        hardware: arguments.Hardware,
        birth: arguments.Birth,
        directory: Path,
        *,
        user: int,
        layer: int,
        tap: int | None,
        errors: int,
    ) -> process.Child:
        if isinstance(birth, arguments.Boot) and birth.memory is not None:
            os.chown(birth.memory, user, user)
        with ExitStack() as ours:
            # Made here, so that nothing that QEMU does decides who is called at these names. Our own copies are closed
            # at the end of the block: with QEMU's, the last ones, whoever waits to be heard is cut off.
            agent, monitor = (ours.enter_context(sockets.listen_unix(directory / name)) for name in SOCKETS)
            if tap is None:
                # A template must be born with a tap, or its guest's driver would do without what pods' taps can do.
                apart = taps.open_apart()
                ours.callback(apart.close)
                tap = apart.open_descriptor
            lines = arguments.Lines(tap=tap, agent=agent.fileno(), monitor=monitor.fileno(), layer=layer)
            words = arguments.command(hardware, birth, lines, program=self._program, name=str(directory))
            shown = arguments.shown(hardware, birth, program=self._program)
            inherited = (lines.tap, lines.agent, lines.monitor, lines.layer)
            try:
                return self._jail.spawn(*words, user=user, shown=shown, output=errors, pass_fds=inherited)
            except process.ProgramMissing as error:
                raise VmmMissing(f"{self._jail.program} is not on this host; make it with: make assets") from error

    async def _monitor_of(self, child: process.Child, path: Path, *, errors: int) -> QMPClient:
        try:
            return await connect_monitor(child, path, errors=errors)
        except BaseException:
            child.signal(signal.SIGKILL, group=True)
            await child.wait()
            child.close()
            raise


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
) -> Qemu:
    """The QEMU of this host with the guest in ``guest``; the rest is as ``Qemu`` takes it. Raises VmmMissing."""
    if not (guest / "version").exists():
        raise VmmMissing(f"{guest} has no guest kernel and agent; make them with: make assets")
    program = process.find_program(PROGRAM)
    if program is None:
        raise VmmMissing(f"{PROGRAM} is not on this host; install qemu-system-x86")
    version = (await process.run(program, "--version", timeout=30)).text.splitlines()[0]
    return Qemu(
        guest=guest,
        templates=templates,
        accelerator=accelerator,
        agent_ready=agent_ready,
        clock=clock,
        program=program.resolve(),
        version=version,
        jail=jail,
        layers=layers,
        patience=patience,
    )


@asynccontextmanager
async def _stream(machine: QemuMachine) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A line to QEMU, known to it as ``STREAM``: the state goes through it.

    Not the state's file itself: QEMU 11 takes files by their names alone, which it has none of in its jail.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            await machine.hand_over(theirs.fileno(), name=STREAM.removeprefix("fd:"))
            theirs.close()
            yield reader, writer
        finally:
            writer.close()


async def _saved(stream: asyncio.StreamReader) -> bytes:
    """All that comes; whether it is a whole state, QEMU says. Raises MachineNotStarted."""
    try:
        async with asyncio.timeout(SAVE_SECONDS):
            return await stream.read()
    except (TimeoutError, OSError) as error:
        raise MachineNotStarted(f"saving the template's state: {str(error) or 'it takes too long'}") from error


async def _keep_memory_out_of_the_state(machine: QemuMachine) -> None:
    capability = {"capability": "x-ignore-shared", "state": True}
    await machine.execute("migrate-set-capabilities", capabilities=[capability])


def _tsc_khz() -> int:
    """The host's time-stamp counter in kHz. ``bogomips`` is twice its MHz and, unlike ``cpu MHz``, does not change."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("bogomips"):
            return int(float(line.partition(":")[2]) * 500)
    return 2_000_000
