"""One machine alone, without containerd: a cold boot, a clone, the way to its first process, and what it weighs."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import shutil
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from benchmarks import report
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tars import unpack_trusted
from kontinuum.images import recipes
from kontinuum.runtime import disks, messages
from kontinuum.runtime.guest import connection
from kontinuum.runtime.guest.port import ContainerSpec, Guest, Identity, Interface, Mount, ProcessSpec
from kontinuum.runtime.jail import confine
from kontinuum.runtime.jail.confine import Jail
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.port import Machine, MachineSpec
from kontinuum.runtime.vmm.qemu import backend
from kontinuum.runtime.warm import rehearsal

ASSETS = Path(os.environ.get("KONTINUUM_ASSETS_DIR", Path(__file__).parents[1] / "build/assets"))
MEMORY_BYTES = 128 << 20
ALIVE_TOGETHER = 5
MOUNTS = (
    Mount("/proc", "proc", "proc"),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755")),
    Mount("/dev/pts", "devpts", "devpts", ("newinstance", "ptmxmode=0666")),
)
CLONE, WARM = "clone → first process runs", "a machine that waited → first process runs"
PROCESSOR = ": processor time of QEMU"
ROUTES = ("10.208.0.0/24", ""), ("0.0.0.0/0", "10.208.0.1")
ETHERNET = Interface("eth0", "02:aa:00:00:00:05", 1500, ("10.208.0.5/24",), ROUTES)


class Stopwatch:
    """Times by name, in milliseconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._began = self._lap = time.monotonic()

    def start(self) -> None:
        self._began = self._lap = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.times[name].append((now - self._lap) * 1000)
        self._lap = now

    def total(self, name: str) -> None:
        self.times[name].append((time.monotonic() - self._began) * 1000)


class Bench:
    """Machines in a directory of their own."""

    def __init__(self, vmm: backend.Qemu, image: Path, scratch: Path) -> None:
        self.vmm, self._image, self._scratch = vmm, image, scratch

    @asynccontextmanager
    async def machine(self, watch: Stopwatch) -> AsyncIterator[tuple[Machine, Guest]]:
        directory = Path(tempfile.mkdtemp(dir=self._scratch))
        watch.start()
        machine = await self.vmm.start(
            MachineSpec(directory.name, MEMORY_BYTES, 1, None, "02:00:00:00:00:02", directory)
        )
        guest = await connection.connect(machine.dial_agent)
        watch.total(f"{machine.origin} → agent answers")
        try:
            yield machine, guest
        finally:
            await guest.close()
            await machine.kill()

    async def first_process(self, machine: Machine, guest: Guest, watch: Stopwatch, *, whole: str = CLONE) -> None:
        """All that a pod needs between its machine's first answer and its first process."""
        before = processor_milliseconds(machine.pid) if whole == WARM else 0.0
        watch.lap("  of which: up to the agent's answer")
        await guest.identify(Identity("bench", time.time(), secrets.token_bytes(64), "0" * 32, (ETHERNET,)))
        watch.lap("  of which: identity and network")
        slot = await machine.attach_disk(self._image, read_only=True)
        watch.lap("  of which: disk")
        layer = await machine.attach_layer(self._image.with_name(secrets.token_hex(8)))
        await guest.add_container(ContainerSpec("main", slot, disks.FILE_SYSTEM, MOUNTS, layer=layer))
        watch.lap("  of which: root file system and cgroup")
        everything = (1 << 41) - 1
        await guest.start_process(ProcessSpec("main", "main", ("sleep", "1000"), (), "/", capabilities=everything))
        watch.lap("  of which: process")
        watch.total(whole)
        watch.times[whole + PROCESSOR].append(processor_milliseconds(machine.pid) - before)

    async def rehearse(self, machine: Machine, guest: Guest) -> None:
        """As a machine does that waits for its pod, up to its pause."""
        source = messages.Mount(type="bind", source=str(ASSETS / "rehearsal"))
        image = await disks.image_for((source,), cache=self._image.parent)
        perform = partial(rehearsal.perform, image=image, file_system=disks.FILE_SYSTEM)
        await rehearsal.rehearse(machine, guest, perform)
        await machine.pause()


def unpack(archive: Path, root: Path) -> None:
    """The layers of the one image in an archive of ours."""
    with tarfile.open(archive) as image:

        def blob(digest: str) -> bytes:
            content = image.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert content is not None
            return content.read()

        index = image.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                unpack_trusted(content, root)


def processor_milliseconds(pid: int) -> float:
    """What a process and its threads have had of the host's processors."""
    times = (thread.read_text().split()[0] for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(int, times)) / 1e6


def megabytes(pid: int) -> tuple[float, float]:
    """Proportional set size of a VMM: (all of it, all but the guest's memory)."""
    whole = guests = 0
    mapping = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            mapping = line.split()[-1]
        elif first == "Pss:":
            size = int(line.split()[1])
            whole += size
            guests += size if mapping.endswith("/memory") else 0
    return whole / 1024, (whole - guests) / 1024


def private_megabytes(pid: int) -> float:
    """What a process shares with nobody: of a clone, what it has written of the guest's memory, and QEMU's own."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """With a template directory of its own, and a disk with busybox."""
    with (
        tempfile.TemporaryDirectory(prefix="kontinuum-bench-", dir="/dev/shm") as templates,
        tempfile.TemporaryDirectory(prefix="kontinuum-bench-") as images,
    ):
        root = Path(images) / "root"
        unpack(ASSETS / "images" / recipes.BUSYBOX_IMAGE.archive, root)
        image = await disks.image_for((messages.Mount(type="bind", source=str(root)),), cache=Path(images) / "cache")
        found = await accelerator.probe()
        settings = RuntimeSettings(assets_dir=str(ASSETS), run_dir="", templates_dir=templates, images_dir=images)
        print(f"# accelerator {found.name}: {found.reason}")
        vmm = await backend.find(
            guest=ASSETS / "guest",
            templates=Path(templates),
            accelerator=found,
            agent_ready=connection.wait_ready,
            clock=RealClock(),
            jail=Jail(ASSETS / "bin" / confine.PROGRAM, Users(Path(templates) / "users", settings.user_range)),
            layers=Layers(Path(images) / "layers"),
        )
        scratch = Path(tempfile.mkdtemp(prefix="kb-", dir="/run"))
        try:
            yield Bench(vmm, image, scratch)
        finally:
            shutil.rmtree(scratch)


async def main(count: int) -> None:
    report.machine(f"machines of {MEMORY_BYTES >> 20} MiB, one after the other")
    watch = Stopwatch()
    async with bench() as lab:
        for _ in range(max(3, count // 5)):
            async with lab.machine(watch):
                pass
        await lab.vmm.prepare(memory_bytes=MEMORY_BYTES, cpus=1)
        for _ in range(count):
            async with lab.machine(watch) as (machine, guest):
                await lab.first_process(machine, guest, watch)
        unused, waited = Stopwatch(), Stopwatch()
        for _ in range(count):
            async with lab.machine(unused) as (machine, guest):
                await lab.rehearse(machine, guest)
                waited.start()
                await machine.resume()
                await lab.first_process(machine, guest, waited, whole=WARM)
        own, whole, beyond = await weigh(lab)
    report.figure(WARM, waited.times[WARM], unit="ms", reach=200)
    report.figure(WARM + PROCESSOR, waited.times[WARM + PROCESSOR], unit="ms")
    for name, values in watch.times.items():
        report.figure(name, values, unit="ms", reach=125 if name.startswith("template") else None)
    report.figure("memory of a clone's own, before its first container (RssAnon)", own, unit="MB", reach=25)
    report.figure(f"memory of a VMM, {ALIVE_TOGETHER} alive (PSS, guest's pages included)", whole, unit="MB")
    report.figure("memory of a VMM beyond its guest's pages (PSS)", beyond, unit="MB", reach=60)


async def weigh(lab: Bench) -> tuple[list[float], list[float], list[float]]:
    """Of machines that live together: before their first container, then each with an idle one."""
    unused = Stopwatch()
    async with AsyncExitStack() as alive:
        machines = [await alive.enter_async_context(lab.machine(unused)) for _ in range(ALIVE_TOGETHER)]
        await asyncio.sleep(1)
        own = [private_megabytes(machine.pid) for machine, _guest in machines]
        for machine, guest in machines:
            await lab.first_process(machine, guest, unused)
        await asyncio.sleep(1)
        sizes = [megabytes(machine.pid) for machine, _guest in machines]
    return own, [size[0] for size in sizes], [size[1] for size in sizes]


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
