"""Small machines for tests of the guest: busybox on a disk, cloned from a template that all tests share."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.lifetimes import afterwards

from kontinuum.foundation import process
from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest import connection
from kontinuum.runtime.guest.port import ContainerSpec, Exit, Guest, Identity, Interface, Mount, ProcessSpec
from kontinuum.runtime.jail import confine
from kontinuum.runtime.jail.confine import Jail
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.port import DISK_BYTES, Machine, MachineSpec
from kontinuum.runtime.vmm.qemu import backend

ASSETS = Path(__file__).parents[2] / "build/assets"
GUEST = ASSETS / "guest"
MEBIBYTE = 1 << 20
EVERY_CAPABILITY = (1 << 41) - 1
MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a program in the guest left behind."""

    exit: Exit
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> list[str]:
        return self.stdout.decode().split()


@dataclass(frozen=True, slots=True)
class Running:
    """A machine with one container, ``main``, in which nothing runs but a sleep."""

    machine: Machine
    guest: Guest
    slot: str

    async def run(self, *arguments: str, container: str = "main", stdin: bytes | None = None, **more: object) -> Result:
        """An exec to its end, with everything it wrote."""
        spec = process_spec(*arguments, container=container, stdin=stdin is not None, **more)
        running = await self.guest.start_process(spec)

        async def feed() -> None:
            if stdin is not None:
                await running.write_stdin(stdin)
                await running.close_stdin()

        stdout, stderr, _fed = await asyncio.gather(collect(running.stdout()), collect(running.stderr()), feed())
        return Result(await running.wait(), stdout, stderr)

    async def shell(self, script: str, **more: object) -> Result:
        return await self.run("sh", "-c", script, **more)  # type: ignore[arg-type]


def process_spec(*arguments: str, container: str = "main", **more: object) -> ProcessSpec:
    settings: dict[str, object] = {"environment": (), "directory": "/", "capabilities": EVERY_CAPABILITY, **more}
    return ProcessSpec(container=container, id=secrets.token_hex(4), arguments=arguments, **settings)  # type: ignore[arg-type]


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def identity(hostname: str = "pod", *interfaces: Interface) -> Identity:
    return Identity(
        hostname=hostname,
        unix_time=time.time(),
        entropy=secrets.token_bytes(64),
        machine_id=secrets.token_hex(16),
        interfaces=interfaces,
    )


def busybox_image(directory: Path) -> Path:
    """A disk with a shell and everything it is used to."""
    root = directory / "root"
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy(str(process.find_program("busybox")), root / "bin/busybox")
    listing = subprocess.run([root / "bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in listing.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n")
    image = directory / "busybox.erofs"
    subprocess.run(["mkfs.erofs", "-d0", image, root], capture_output=True, check=True)
    os.truncate(image, DISK_BYTES)
    return image


def jail_below(directory: Path) -> Jail:
    """What machines are confined by, with users of this test run's own."""
    numbers = RuntimeSettings(assets_dir="", run_dir="", templates_dir="", images_dir="").user_range
    return Jail(ASSETS / "bin" / confine.PROGRAM, Users(directory / "users", numbers))


def layers_below(directory: Path) -> Layers:
    """What containers of these machines write to."""
    return Layers(directory / "layers")


class Lab:
    """Makes machines; what it made is gone when its block ends."""

    def __init__(self, image: Path, templates: Path) -> None:
        self.image = image
        self.templates = templates

    async def vmm(self) -> backend.Qemu:
        return await backend.find(
            guest=GUEST,
            templates=self.templates,
            accelerator=await accelerator.probe(),
            agent_ready=connection.wait_ready,
            clock=RealClock(),
            jail=jail_below(self.templates),
            layers=layers_below(self.templates),
        )

    @asynccontextmanager
    async def machine(self, name: str = "machine") -> AsyncIterator[tuple[Machine, Guest]]:
        """A clone whose agent has answered and that has not been told who it is."""
        vmm = await self.vmm()
        await vmm.prepare(memory_bytes=128 * MEBIBYTE, cpus=1)
        directory = Path(tempfile.mkdtemp(prefix="kt-", dir="/run"))
        try:
            spec = MachineSpec(name, 128 * MEBIBYTE, 1, None, "02:00:00:00:00:02", directory)
            machine = await vmm.start(spec)
            try:
                async with asyncio.timeout(30):
                    guest = await connection.connect(machine.dial_agent)
                yield machine, guest
                await guest.close()
            finally:
                await machine.kill()
        finally:
            shutil.rmtree(directory)

    @asynccontextmanager
    async def running(self, hostname: str = "pod", **limits: Any) -> AsyncIterator[Running]:
        """See ``Running``; ``limits`` and more are those of ContainerSpec."""
        async with self.machine(hostname) as (machine, guest):
            await guest.identify(identity(hostname))
            slot = await machine.attach_disk(self.image, read_only=True)
            await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS, **limits))
            await guest.start_process(process_spec("sleep", "1000"))
            yield Running(machine, guest, slot)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Templates live in shared memory, and are made once for all tests of a file."""
    templates = Path(tempfile.mkdtemp(prefix="kontinuum-test-", dir="/dev/shm"))
    with tempfile.TemporaryDirectory(prefix="kontinuum-test-") as scratch, afterwards("rm", "-r", templates):
        try:
            yield Lab(busybox_image(Path(scratch)), templates)
        finally:
            shutil.rmtree(templates)
