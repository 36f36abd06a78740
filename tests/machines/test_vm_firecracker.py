"""Firecracker where there is one; and everywhere, what its jail lets through: tried by a program in its place."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.machines.guests import GUEST, jail_below, layers_below
from tests.machines.test_vm_jail import facts

from kontinuum.foundation import process, sockets
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.network_namespace import inside
from kontinuum.images.recipes import compile_static
from kontinuum.runtime import network, taps
from kontinuum.runtime.guest import connection
from kontinuum.runtime.jail.confine import Jail, Shown, libraries
from kontinuum.runtime.jail.view import NotShown
from kontinuum.runtime.netlink import Netlink
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.choice import FIRECRACKER
from kontinuum.runtime.vmm.conformance import AnotherVmm, SpecOf, TemplateSuite, VmmSuite, specs_below
from kontinuum.runtime.vmm.firecracker import backend, documents
from kontinuum.runtime.vmm.firecracker.documents import DRIVES, READERS
from kontinuum.runtime.vmm.firecracker.launcher import JailedLauncher, Wish
from kontinuum.runtime.vmm.firecracker.machine import Launched
from kontinuum.runtime.vmm.port import DISK_BYTES, DiskInUse, Vmm
from kontinuum.runtime.vmm.templates import Template, Templates

pytestmark = pytest.mark.machine
IMAGE, VOLUME = DRIVES[0], DRIVES[-1]
INTERPRETER = Path(sys.executable).resolve()


@pytest.fixture
def home() -> Iterator[Path]:
    """With a short path, for sockets, and on a tmpfs."""
    with tempfile.TemporaryDirectory(prefix="kt-", dir="/run") as home:
        yield Path(home)


@pytest.mark.skipif(process.find_program(FIRECRACKER) is None, reason="no firecracker on the PATH")
class TestFirecracker(VmmSuite, TemplateSuite):
    @pytest.fixture(scope="class")
    def templates(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(prefix="kontinuum-test-", dir="/dev/shm"))
        yield directory
        shutil.rmtree(directory)

    @pytest.fixture
    def another_vmm(self, templates: Path) -> AnotherVmm:
        async def find() -> backend.Firecracker:
            found = await accelerator.probe()
            if found.name != "kvm":
                pytest.skip(f"Firecracker needs KVM: {found.reason}")
            return await backend.find(
                guest=GUEST,
                templates=templates,
                accelerator=found,
                agent_ready=connection.wait_ready,
                clock=RealClock(),
                jail=jail_below(templates),
                layers=layers_below(templates),
            )

        return find

    @pytest.fixture
    async def vmm(self, another_vmm: AnotherVmm) -> Vmm:
        return await another_vmm()

    @pytest.fixture
    def spec(self, home: Path) -> SpecOf:
        return specs_below(home)

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, DISK_BYTES)
        return image


@dataclass
class StandIn:
    """A program where Firecracker would be."""

    launched: Launched
    locks: int

    async def do(self, command: str) -> str:
        """``done`` and what it found, or why not."""
        opened = self.launched.view.open_socket(documents.API_SOCKET)
        try:
            line = await sockets.dial_unix(Path(f"/proc/self/fd/{opened}"))
        finally:
            os.close(opened)
        reader, writer = await asyncio.open_unix_connection(sock=line)
        writer.write(command.encode())
        answer = (await reader.read()).decode().strip()
        writer.close()
        return answer


@pytest.fixture
async def stand_in(home: Path) -> AsyncIterator[StandIn]:
    program = home / "stand-in"
    await compile_static([Path(__file__).with_name("stand_in.c")], target=program)
    template = Template(home / "template")
    template.directory.mkdir()
    for path in (template.memory, template.state):
        path.write_text("saved")
        path.chmod(0o444)
    (home / "machine").mkdir()
    launcher = JailedLauncher(jail_below(home), program, GUEST)
    output, (ours, theirs) = os.memfd_create("said"), os.pipe()
    with ExitStack() as undo:
        launched = launcher.launch(Wish(home / "machine", template), output=output, locks=theirs, undo=undo)
        os.close(theirs)
        async with asyncio.timeout(20):
            while os.pread(output, 100, 0) != b"listening\n":
                assert launched.child.is_running(), os.pread(output, 2000, 0)
                await asyncio.sleep(0.01)
        yield StandIn(launched, ours)
        launched.child.signal(9, group=True)
        await launched.child.wait()
        # What it held is let go of, and with the last copy whoever waits for that hears of it.
        assert os.read(ours, 1) == b""
    os.close(ours)
    os.close(output)
    launched.child.close()
    assert list((home / "machine").iterdir()) == []


async def test_what_firecracker_may_and_may_not_do(stand_in: StandIn, home: Path, tmp_path: Path) -> None:
    launched = stand_in.launched
    status = facts(launched.child.pid)
    assert set(status["Uid"].split()) == {str(launched.user)}
    assert {status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["NSpid"].split()[1:]) == ("1", ["1"])
    assert await stand_in.do(f"read {documents.MEMORY}") == "done saved"
    assert (await stand_in.do("links")).split() == ["done", "lo", taps.NAME]
    assert await stand_in.do(f"tap {taps.NAME}") == "done"
    for refused in (
        f"write {documents.MEMORY}",
        f"write {documents.KERNEL}",
        "tap another0",
        "read /etc/passwd",
        f"read {home}/template/memory",
        "make /new",
        "make /disks/new",
        "make /blank/new",
    ):
        assert not (await stand_in.do(refused)).startswith("done"), refused
    assert (await stand_in.do(f"make {documents.OWN}/name")) == "done"


async def test_disks_come_and_go_under_a_program_that_runs(stand_in: StandIn, tmp_path: Path) -> None:
    view = stand_in.launched.view
    image, volume = tmp_path / "image", tmp_path / "volume"
    image.write_text("image")
    volume.write_text("before and after")
    assert await stand_in.do(f"read {IMAGE.path}") == "done", "sixteen gibibytes of nothing"
    with image.open("rb") as file:
        view.cover(IMAGE.path, file.fileno(), True)
    assert await stand_in.do(f"read {IMAGE.path}") == "done image"
    os.chown(image, stand_in.launched.user, stand_in.launched.user)
    assert await stand_in.do(f"write {IMAGE.path}") == "Read-only file system"
    volume.chmod(0o600)
    with volume.open("r+b") as file:
        view.cover(VOLUME.path, file.fileno(), False)
    assert await stand_in.do(f"write {VOLUME.path}") == "Permission denied"
    os.chown(volume, stand_in.launched.user, stand_in.launched.user)
    assert await stand_in.do(f"write {VOLUME.path}") == "done"
    assert volume.read_text() == "written" + "before and after"[7:]
    view.uncover(VOLUME.path)
    assert await stand_in.do(f"write {VOLUME.path}") == "done", "its own blank one"
    assert volume.read_text() == "written" + "before and after"[7:]
    # Nothing of it is to be seen on the host.
    assert str(volume) not in Path("/proc/self/mountinfo").read_text()


async def test_a_tap_that_firecracker_has_opened_is_joined_to_its_pod(stand_in: StandIn, tmp_path: Path) -> None:
    """And another machine's of the same pod, in place of what the first has left there."""
    assert await stand_in.do(f"tap {taps.NAME}") == "done"
    tap = stand_in.launched.tap
    assert tap is not None
    pod = taps.open_apart()  # a namespace with a tap of that name in it, as an earlier machine would have left
    there = Path(f"/proc/{os.getpid()}/fd/{pod.namespace}")
    for words in ("link add eth0 type veth peer name other", "addr add 10.9.8.7/24 dev eth0", "link set eth0 up"):
        await process.run("nsenter", f"--net={there}", "ip", *words.split())
    another = taps.name_apart(owner=stand_in.launched.user)
    for joining in (another, tap):
        joined = network.join(there, joining)
        assert joined.tap is None, "the machine has it"
        assert joined.interface.addresses == ("10.9.8.7/24",)
        with inside(there), Netlink() as netlink:
            assert [link.name for link in netlink.links()].count(taps.NAME) == 1
    filters = await process.run("nsenter", f"--net={there}", "tc", "filter", "show", "dev", "eth0", "ingress")
    assert filters.text.count(f"Redirect to device {taps.NAME}") == 1
    assert (await stand_in.do("links")).split() == ["done", "lo"]
    another.close()
    pod.close()


async def test_a_program_that_is_gone_is_shown_nothing(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    stand_in.launched.child.signal(9)
    await stand_in.launched.child.wait()
    with (tmp_path / "image").open("rb") as file, pytest.raises(NotShown):
        stand_in.launched.view.cover(IMAGE.path, file.fileno(), True)
    with suppress(OSError, sockets.NotListening):
        os.close(stand_in.launched.view.open_socket(documents.API_SOCKET))
        raise AssertionError("its socket is still there")
    fcntl.fcntl(stand_in.locks, fcntl.F_GETFD)


class JailWithPython(Jail):
    """One that shows an interpreter and its modules besides, all of it read-only."""

    def spawn(self, *program: str, shown: tuple[Shown, ...], **more: Any) -> process.Child:
        places = {INTERPRETER, INTERPRETER.parents[1] / "lib", *map(Path, packages())}
        # A distribution's own modules are among its libraries.
        apart = sorted(place for place in places if not place.is_relative_to("/usr/lib"))
        seen = (*libraries(), *(Shown.same("run", place) for place in apart))
        return super().spawn(*program, shown=(*seen, *shown), **more)


def packages() -> list[str]:
    """Where third parties' modules are, and ours."""
    return [str(Path(aiohttp.__file__).parents[1].resolve()), str(Path(backend.__file__).parents[4].resolve())]


@pytest.fixture
def pretended(home: Path) -> backend.Firecracker:
    """The backend with nothing in place of its own parts; what it starts pretends to be Firecracker."""
    program = home / "firecracker"
    text = Path(__file__).with_name("pretender.py").read_text()
    program.write_text(f"#!{INTERPRETER} -IS\n{text.replace('PACKAGES  #', f'{packages()}  #')}")
    program.chmod(0o755)
    usual = jail_below(home)
    launcher = JailedLauncher(JailWithPython(usual.program, usual.users), program, GUEST)
    templates = Templates(home / "templates", guest_version="1", vmm_version="1")
    return backend.Firecracker(
        launcher,
        templates,
        version=(1, 14, 0),
        layers=layers_below(home),
        agent_ready=connection.wait_ready,
        clock=RealClock(),
    )


async def test_a_template_and_its_clone_with_disks_as_a_jailed_user(
    pretended: backend.Firecracker, home: Path, tmp_path: Path
) -> None:
    image, volume = tmp_path / "image", tmp_path / "volume"
    for path, size in ((image, DISK_BYTES), (volume, 1 << 20)):
        path.touch(mode=0o600)
        os.truncate(path, size)
    image.chmod(0o644)
    await pretended.prepare(memory_bytes=128 << 20, cpus=1)
    [memory] = (home / "templates").glob("*/memory")
    assert (memory.stat().st_uid, memory.stat().st_mode & 0o777) == (0, 0o444), "nobody writes to it any more"
    wanted = specs_below(home)("one")
    machine = await pretended.start(wanted)
    try:
        assert machine.origin == "template"
        await connection.wait_ready(machine.dial_agent)
        assert await machine.attach_disk(image, read_only=True) == f"vda@{DISK_BYTES}"
        slot = await machine.attach_disk(volume, read_only=False)
        assert slot == f"{DRIVES[READERS].name}@{1 << 20}"
        assert volume.stat().st_uid >= 1_900_000_000, "Firecracker opens it itself, as this machine's user"
        with pytest.raises(DiskInUse):
            await machine.attach_disk(volume, read_only=False)
        await machine.detach_disk(slot)
        assert volume.stat().st_uid == 0
        assert await machine.attach_disk(volume, read_only=False) == slot
    finally:
        await machine.kill()
    assert volume.stat().st_uid == 0
    assert list(wanted.directory.iterdir()) == []
    assert list((home / "users").iterdir()) == []
