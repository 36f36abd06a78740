"""Firecracker's backend keeps the port's promises, against a fake that speaks its public API."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.pod import pod

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest import connection
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.vmm.conformance import AnotherVmm, SpecOf, TemplateSuite, VmmSuite, running, specs_below
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.firecracker.api import Request
from kontinuum.runtime.vmm.firecracker.backend import Firecracker
from kontinuum.runtime.vmm.firecracker.documents import Hardware
from kontinuum.runtime.vmm.firecracker.fake import FakeLauncher
from kontinuum.runtime.vmm.firecracker.launcher import Wish
from kontinuum.runtime.vmm.firecracker.machine import FirecrackerMachine
from kontinuum.runtime.vmm.port import DISK_BYTES, MachineRefused, Vmm
from kontinuum.runtime.vmm.templates import Templates


@pytest.fixture
def home() -> Iterator[Path]:
    """With a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="kt-") as home:
        yield Path(home)


@pytest.fixture
def guest(home: Path) -> Path:
    guest = home / "guest"
    guest.mkdir()
    for name in ("vmlinux", "initramfs.cpio"):
        (guest / name).touch()
    return guest


@pytest.fixture
def launcher(guest: Path) -> FakeLauncher:
    return FakeLauncher(guest)


@pytest.fixture
def templates(home: Path) -> Path:
    return home / "templates"


@pytest.fixture
def another_vmm(launcher: FakeLauncher, templates: Path) -> AnotherVmm:
    async def make() -> Firecracker:
        found = Templates(templates, guest_version="1", vmm_version="fake")
        return Firecracker(
            launcher,
            found,
            version=(1, 14, 0),
            layers=Layers(templates.with_name("layers")),
            agent_ready=connection.wait_ready,
            clock=RealClock(),
        )

    return make


@pytest.fixture
async def vmm(another_vmm: AnotherVmm) -> Vmm:
    return await another_vmm()


@pytest.fixture
def spec(home: Path) -> SpecOf:
    return specs_below(home)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, DISK_BYTES)
    return image


class TestFirecrackerAgainstItsPublicApi(VmmSuite, TemplateSuite):
    pass


async def test_an_image_stays_locked_for_as_long_as_the_process_lives_whoever_else_dies(
    vmm: Vmm, spec: SpecOf, home: Path
) -> None:
    """Our copies of the open file go with us when we are killed; Firecracker, which opens it itself, has no lock."""
    disk = home / "disk"
    disk.write_bytes(bytes(4096 * 4))
    async with running(vmm, spec("one")) as [machine]:
        await machine.attach_disk(disk, read_only=False)
        assert isinstance(machine, FirecrackerMachine)
        for attached in machine._attached.values():
            os.close(attached.file)
            attached.file = os.open(os.devnull, os.O_RDONLY)
        with disk.open("rb") as another:
            with pytest.raises(BlockingIOError):
                fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(machine.pid, signal.SIGKILL)
            await machine.wait()
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_what_firecracker_refuses_is_said_in_its_own_words(
    vmm: Vmm, spec: SpecOf, launcher: FakeLauncher
) -> None:
    async with running(vmm, spec("one")) as [machine]:
        assert isinstance(machine, FirecrackerMachine)
        with pytest.raises(MachineRefused, match=r"refused PUT /boot-source: .*not supported after starting"):
            await machine.api.call(Request("PUT", "/boot-source", {"kernel_image_path": "/kernel"}))
        with pytest.raises(MachineRefused, match="Invalid block device ID: vdz"):
            await machine.api.call(Request("PATCH", "/drives/vdz", {"drive_id": "vdz", "path_on_host": "/kernel"}))
        [fake] = launcher.started
        assert fake.asked[0] == ("PUT", "/machine-config")
        assert ("PUT", "/actions") in fake.asked


async def test_a_tap_that_it_would_not_use_is_refused(vmm: Vmm, spec: SpecOf) -> None:
    """Or a pod would be told that it has a network."""
    assert vmm.brings_taps
    with pytest.raises(MachineRefused, match="opens its tap itself"):
        await vmm.start(replace(spec("one"), tap=0))


async def test_a_kernel_that_is_not_there_is_a_start_that_names_it(vmm: Vmm, spec: SpecOf, guest: Path) -> None:
    (guest / "vmlinux").unlink()
    wanted = spec("one")
    with pytest.raises(MachineRefused, match="cannot be opened: /kernel"):
        await vmm.start(wanted)
    assert not list(wanted.directory.iterdir())


@pytest.mark.parametrize("cpus", [0, 33])
async def test_processors_that_firecracker_has_not_are_refused_with_what_to_do(
    vmm: Vmm, spec: SpecOf, cpus: int
) -> None:
    with pytest.raises(MachineRefused, match=r"runtime\.maximum_cpus"):
        await vmm.start(replace(spec("one"), cpus=cpus))


async def test_a_pod_does_not_notice_which_vmm_its_machine_is_of(
    vmm: Vmm, launcher: FakeLauncher, home: Path, image: Path
) -> None:
    async with pod(home, vmm=vmm) as tested:
        await tested.sandbox()
        await tested.run("one", "sh", "-c", "exit 7")
        await tested.run("two", "sleep", "1000")
        assert await tested.wait("one") == 7
        [fake] = launcher.started
        # One image, one disk, however many containers; and what each of them writes.
        changed = Counter(path for method, path in fake.asked if method == "PATCH")
        assert changed == {"/drives/vda": 1, "/drives/vdh": 1, "/drives/vdi": 1}
        await tested.delete("one")
        await tested.kill("two", 9)
        assert await tested.wait("two") == 137
        await tested.delete("two")
        changed = Counter(path for method, path in fake.asked if method == "PATCH")
        assert changed == {"/drives/vda": 2, "/drives/vdh": 2, "/drives/vdi": 2}


BOOT = Request("PUT", "/boot-source", {"kernel_image_path": "/kernel"})
DRIVE = {"drive_id": "a", "is_root_device": False, "is_read_only": True, "path_on_host": documents.DRIVES[0].path}
START, LOAD = documents.start(), documents.load()


@pytest.mark.parametrize(
    ("before", "asked", "fault"),
    [
        ([], START, "without kernel configuration"),
        ([BOOT, START], START, "after starting"),
        ([BOOT, START], Request("PUT", "/drives/a", DRIVE), "after starting"),
        ([], Request("PATCH", "/drives/a", {"drive_id": "a"}), "before starting"),
        ([], Request("PUT", "/drives/b", DRIVE), "disagree"),
        ([], Request("PUT", "/drives/a", DRIVE | {"path_on_host": "/nowhere"}), "Unable to open /nowhere"),
        ([], Request("PUT", "/drives/a", DRIVE | {"cache_type": "Writethrough"}), "Invalid enum value"),
        ([], Request("PUT", "/boot-source", {"kernel": "/kernel"}), "unknown field"),
        ([], Request("PUT", "/boot-source", {}), "missing required field"),
        ([], Request("PUT", "/machine-config", {"vcpu_count": 33, "mem_size_mib": 128}), "<= 32"),
        ([], Request("PUT", "/vsock", {"guest_cid": 2, "uds_path": "/own/agent.sock"}), ">= 3"),
        ([], documents.pause(), "before starting"),
        ([BOOT, START], documents.save(), "not paused"),
        ([BOOT], LOAD, "not allowed after configuring"),
        ([], LOAD, "Load snapshot error"),
        ([], Request("PUT", "/nothing", {}), "Invalid request method and/or path"),
    ],
)
async def test_the_fake_takes_nothing_that_the_real_one_would_not(
    vmm: Vmm, spec: SpecOf, before: list[Request], asked: Request, fault: str
) -> None:
    assert isinstance(vmm, Firecracker)
    machine = await vmm._spawn(Wish(spec("one").directory), origin="cold")
    try:
        await machine.api.call(*before)
        with pytest.raises(MachineRefused, match=fault):
            await machine.api.call(asked)
    finally:
        await machine.kill()


async def test_the_fake_has_as_many_devices_as_there_are_interrupts(vmm: Vmm, spec: SpecOf) -> None:
    assert isinstance(vmm, Firecracker)
    machine = await vmm._spawn(Wish(spec("one").directory), origin="cold")
    try:
        await machine.api.call(*documents.configuration(Hardware(128 << 20, 1, (1, 14, 0))))
        await machine.api.call(Request("PUT", "/drives/a", DRIVE))
        with pytest.raises(MachineRefused, match="no more IRQs"):
            await machine.api.call(START)
    finally:
        await machine.kill()
