"""Whoever breaks out of a guest into its VMM stands in an empty room: tried from inside, with the same confinement.

The probe is a shell instead of QEMU, started by the same launcher, as the same kind of user, with the same view. It may
do more than QEMU, which has a filter of system calls on top; what the probe cannot, QEMU cannot.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.machines.guests import ASSETS, Lab, jail_below, lab

from kontinuum.foundation import process
from kontinuum.runtime.jail.confine import READ_ONLY_LIBRARY
from kontinuum.runtime.vmm.port import Machine
from kontinuum.runtime.vmm.qemu import arguments

pytestmark = pytest.mark.machine
__all__ = ["lab"]
HARDWARE = arguments.Hardware("tcg", 128 << 20, 1)
NAMESPACES = ("mnt", "pid", "ipc", "net", "uts", "cgroup")


def facts(pid: int) -> dict[str, str]:
    """What the kernel says of a process, by name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def open_files(pid: int) -> dict[str, str]:
    """What a process has open: where each descriptor leads, and how it was opened (octal flags)."""
    found = {}
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text())
        assert flags is not None
        found[str(descriptor.readlink())] = flags[1]
    return found


class Probe:
    """A shell where QEMU would be."""

    def __init__(self, lab: Lab, memory: Path) -> None:
        self._jail = jail_below(lab.templates)
        busybox = process.find_program("busybox")
        assert busybox is not None
        self._shell = str(busybox)
        birth = arguments.Clone(memory=memory, library=ASSETS / "bin" / READ_ONLY_LIBRARY)
        self._shown = arguments.shown(HARDWARE, birth, program=busybox)

    def start(self, script: str, *, owner: Path, output: int) -> process.Child:
        user = self._jail.users.claim(owner)
        words = (self._shell, "sh", "-c", f'b() {{ {self._shell} "$@"; }}; {script}')
        return self._jail.spawn(*words, user=user, shown=self._shown, output=output)

    async def run(self, script: str, *, owner: Path) -> str:
        """All that the script wrote; errors too."""
        output = os.memfd_create("output")
        try:
            child = self.start(script, owner=owner, output=output)
            async with asyncio.timeout(20):
                await child.wait()
            child.close()
            return os.pread(output, 1 << 16, 0).decode()
        finally:
            os.close(output)


def assert_confined(machine: Machine) -> int:
    """Answers the user that the VMM runs as."""
    status = facts(machine.pid)
    users, groups = set(status["Uid"].split()), set(status["Gid"].split())
    [user] = users
    assert groups == users
    assert int(user) >= 1_900_000_000
    assert status["Groups"] == ""
    assert {status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["NSpid"].split()[1:] == ["1"]
    for namespace in NAMESPACES:
        theirs, ours = (Path(f"/proc/{pid}/ns/{namespace}").readlink() for pid in (machine.pid, "self"))
        assert theirs != ours, namespace
    limits = Path(f"/proc/{machine.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", limits)
    mounts = Path(f"/proc/{machine.pid}/mountinfo").read_text().splitlines()
    assert [line for line in mounts if not re.search(r" ro,nosuid,", line)] == []
    return int(user)


async def test_a_machine_runs_as_a_user_of_its_own_without_rights_and_holds_only_what_it_needs(lab: Lab) -> None:
    async with lab.running("one") as one, lab.machine("two") as (two, _guest):
        users = {assert_confined(machine) for machine in (one.machine, two)}
        assert len(users) == 2
        held = open_files(one.machine.pid)
    # A layer has no name until its container comes.
    own = r"/dev/null$|/memfd:qemu-errors|socket:|anon_inode:|/dev/net/tun$|/memory$|.*/layers/#\d+ \(deleted\)$"
    strange = [path for path in held if not re.match(own, path) and path != str(lab.image)]
    assert strange == []
    for path in ("/memory", str(lab.image)):
        assert int(held[path], 8) & os.O_ACCMODE == os.O_RDONLY, path


async def test_nobody_gets_out_of_where_a_machine_is(lab: Lab, tmp_path: Path) -> None:
    async with lab.running("neighbour") as neighbour:
        [memory] = lab.templates.glob("*/memory")
        machines = [claim.readlink() for claim in (lab.templates / "users").iterdir()]
        before = memory.read_bytes()
        probe = Probe(lab, memory)
        secret = tmp_path / "secret"
        secret.write_text("of the host")
        secret.chmod(0o644)
        tries = {
            "another pod's disk": f"b cat {lab.image}",
            "a file of the host": f"b cat {secret}",
            "the host's accounts": "b cat /etc/passwd",
            "the sockets of pods": f"b ls {machines[0]}",
            "processes": "b ls /proc/1/root /proc/self/root",
            "a signal to its neighbour": f"b kill -9 {neighbour.machine.pid}",
            "a signal to our test": f"b kill -9 {os.getpid()}",
            "the template": "echo x > /memory",
            "the template, in place": "b dd if=/bin/sh of=/memory conv=notrunc",
            "the template's name": "b rm -f /memory",
            "the root": "echo x > /new",
            "QEMU's own library": "echo x > /readonly.so",
            "a library": "echo x > /usr/lib/os-release",
            "KVM": "(exec 3<>/dev/kvm)",
            "a device made by itself": "b mknod /tmp-disk b 254 0",
            "a mount": "b mount -t tmpfs none /usr",
            "its old root": "b chroot / /bin/sh",
            "becoming root": "b su -c true",
            "another host name": "b hostname other",
            "a wire": "b ip link add name x type dummy",
            "a raw packet": "b ping -c 1 -W 1 127.0.0.1",
            "the internet": "b nc -w 1 192.0.2.1 80",
        }
        for what, script in tries.items():
            said = await probe.run(
                f"if {script}; then echo 'got through'; else echo refused; fi", owner=tmp_path / what
            )
            assert said.endswith("refused\n"), f"{what}: {said}"
        assert (await probe.run("b head -c 4 /memory | b wc -c", owner=tmp_path)) == "4\n"
        assert memory.read_bytes() == before
        assert (await neighbour.shell("echo alive")).stdout == b"alive\n"


async def test_a_confined_program_dies_with_whoever_started_it(lab: Lab, tmp_path: Path) -> None:
    """The thread that starts it is what the kernel takes for its parent."""
    await (await lab.vmm()).prepare(memory_bytes=HARDWARE.memory_bytes, cpus=HARDWARE.cpus)
    [memory] = lab.templates.glob("*/memory")
    started: list[process.Child] = []

    def start() -> None:
        output = os.memfd_create("output")
        started.append(Probe(lab, memory).start("echo confined; b sleep 1000", owner=tmp_path, output=output))
        while not os.fstat(output).st_size and started[0].is_running():
            time.sleep(0.01)
        os.close(output)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    [child] = started
    async with asyncio.timeout(20):
        assert await child.wait() == -signal.SIGKILL
    child.close()


async def test_a_machines_user_is_free_again_when_it_has_been_killed(lab: Lab) -> None:
    claims = lab.templates / "users"
    async with lab.machine() as (machine, _guest):
        user = str(assert_confined(machine))
        assert user in {claim.name for claim in claims.iterdir()}
    assert user not in {claim.name for claim in claims.iterdir()}
