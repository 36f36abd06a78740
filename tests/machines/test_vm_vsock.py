"""The agent on a vsock, as under a VMM that has nothing else: in a real guest kernel, by its loopback (see relay.c)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.machines.guests import (
    GUEST,
    MEBIBYTE,
    MOUNTS,
    Lab,
    Running,
    identity,
    jail_below,
    lab,
    layers_below,
    process_spec,
)

from kontinuum.foundation.clock import RealClock
from kontinuum.images import initramfs
from kontinuum.images.guest import AGENT_SOURCES
from kontinuum.images.recipes import compile_static
from kontinuum.runtime.guest import connection
from kontinuum.runtime.guest.port import ContainerSpec, Guest, GuestLost
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.port import Machine, MachineSpec
from kontinuum.runtime.vmm.qemu import arguments, backend

pytestmark = pytest.mark.machine
__all__ = ["lab"]
RELAY = Path(__file__).with_name("relay.c")


async def guest_on_a_vsock(directory: Path, *, host: int) -> Path:
    """The usual guest, but its agent takes calls by vsock, from the number ``host``, and a relay makes them."""
    definition = directory / "host.h"
    definition.write_text(f"#define HOST_CID {host}u\n")
    sources = sorted(AGENT_SOURCES.glob("*.c"))
    port = directory / "port.c"
    port.write_text(f'#include "{definition}"\n#include "{AGENT_SOURCES}/port.c"\n')
    others = [source for source in sources if source.name != "port.c"]
    await compile_static([port, *others], target=directory / "agent")
    relay = directory / "relay.c"
    relay.write_text(f'#define PORT {documents.AGENT_PORT}\n#include "{RELAY}"\n')
    await compile_static([relay], target=directory / "relay")
    added = [
        initramfs.file("init", (directory / "relay").read_bytes(), executable=True),
        initramfs.file("agent", (directory / "agent").read_bytes(), executable=True),
        initramfs.file("loopback.ko", (GUEST / "vsock_loopback.ko").read_bytes()),
    ]
    guest = directory / "guest"
    guest.mkdir()
    # The kernel unpacks one archive after the other; of two files with one name the later stays.
    (guest / "initramfs.cpio").write_bytes((GUEST / "initramfs.cpio").read_bytes() + initramfs.pack(added))
    (guest / "vmlinux").symlink_to(GUEST / "vmlinux")
    (guest / "version").write_text(f"on a vsock, {host}")
    return guest


@pytest.fixture
async def machine(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    # And what Firecracker's guests are told besides, to see that this kernel boots with it.
    usual, others = arguments.kernel_command_line, documents.kernel_command_line()
    monkeypatch.setattr(arguments, "kernel_command_line", lambda *at, **named: f"{usual(*at, **named)} {others}")
    vmm = await backend.find(
        guest=await guest_on_a_vsock(tmp_path, host=1),
        templates=lab.templates,
        accelerator=await accelerator.probe(),
        agent_ready=connection.wait_ready,
        clock=RealClock(),
        jail=jail_below(lab.templates),
        layers=layers_below(lab.templates),
    )
    directory = Path(tempfile.mkdtemp(prefix="kt-", dir="/run"))
    machine = await vmm.start(MachineSpec("one", 128 * MEBIBYTE, 1, None, "02:00:00:00:00:02", directory))
    yield machine
    await machine.kill()
    shutil.rmtree(directory)


async def called_until_it_answers(machine: Machine) -> Guest:
    """The relay may not have noticed yet that the last caller hung up; then it passes on to a line that is broken."""
    while True:
        with suppress(TimeoutError, GuestLost):
            async with asyncio.timeout(2):
                return await connection.connect(machine.dial_agent)


async def test_an_agent_that_is_called_by_vsock_serves_one_host_after_the_other(lab: Lab, machine: Machine) -> None:
    async with asyncio.timeout(60):
        guest = await connection.connect(machine.dial_agent)
        await guest.identify(identity("called"))
        slot = await machine.attach_disk(lab.image, read_only=True)
        await guest.add_container(ContainerSpec("main", slot, "erofs", MOUNTS))
        await guest.start_process(process_spec("sleep", "1000"))
        running = Running(machine, guest, slot)
        assert (await running.shell("hostname")).words == ["called"]
        assert len((await running.shell("head -c 3000000 /dev/zero")).stdout) == 3_000_000
        assert (await running.shell("wc -c", stdin=bytes(1_000_000))).words == ["1000000"]
        # It hangs up in the middle of what it has asked for, and of what it is told.
        await guest.start_process(process_spec("sh", "-c", "yes | head -c 900000"))
        await guest.close()
        for rubbish in (b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n"):
            line = await machine.dial_agent()
            with line, suppress(OSError):  # QEMU, whose port it goes through, takes one line after the other
                await asyncio.get_running_loop().sock_sendall(line, rubbish)
        again = await called_until_it_answers(machine)
        running = Running(machine, again, slot)
        assert (await running.shell("echo well")).words == ["well"]
        await again.close()
