"""What every VMM must do, as tests: a backend's test file derives from ``VmmSuite`` and gives its fixtures.

    class TestQemu(VmmSuite):
        @pytest.fixture
        async def vmm(self): ...
        @pytest.fixture
        def spec(self, tmp_path): return specs_below(tmp_path)
        @pytest.fixture
        def image(self, tmp_path): return an empty disk image of DISK_BYTES

The suite uses nothing of pytest itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kontinuum.runtime.vmm.port import Machine, MachineRefused, MachineSpec, Vmm

SpecOf = Callable[[str], MachineSpec]
MORE_THAN_ANY_MACHINE_HAS = 64


def specs_below(parent: Path) -> SpecOf:
    """Makes the specification of the machine called ``name``, with a directory of its own below ``parent``."""

    def make(name: str) -> MachineSpec:
        (parent / name).mkdir()
        return MachineSpec(
            id=name, memory_bytes=128 << 20, cpus=1, tap=None, mac="02:00:00:00:00:02", directory=parent / name
        )

    return make


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def fill(machine: Machine, image: Path) -> list[str]:
    """Attach the image until the machine refuses; answers the slots."""
    slots: list[str] = []
    for _ in range(MORE_THAN_ANY_MACHINE_HAS):
        try:
            slots.append(await machine.attach_disk(image, read_only=True))
        except MachineRefused:
            return slots
    raise AssertionError("a machine that never refuses a disk is not telling the truth")


class VmmSuite:
    """Each test is a claim about the port."""

    async def test_a_machine_is_a_living_process_with_a_way_to_its_agent(self, vmm: Vmm, spec: SpecOf) -> None:
        machine = await vmm.start(spec("one"))
        try:
            assert is_alive(machine.pid)
            assert machine.agent_socket.is_socket()
            assert machine.origin in ("warm", "template", "cold")
        finally:
            await machine.kill()

    async def test_a_prepared_size_does_not_boot_cold(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        await vmm.prepare(memory_bytes=wanted.memory_bytes, cpus=wanted.cpus)
        machine = await vmm.start(wanted)
        try:
            assert machine.origin in ("warm", "template")
        finally:
            await machine.kill()

    async def test_killing_leaves_no_process_and_no_file_and_may_be_repeated(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        before = set(wanted.directory.iterdir())
        machine = await vmm.start(wanted)
        await machine.kill()
        assert not is_alive(machine.pid)
        assert set(wanted.directory.iterdir()) == before
        await machine.kill()

    async def test_everybody_who_waits_learns_how_the_machine_ended(self, vmm: Vmm, spec: SpecOf) -> None:
        machine = await vmm.start(spec("one"))
        waiting = [asyncio.ensure_future(machine.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(machine.pid, signal.SIGKILL)
        assert await asyncio.gather(*waiting) == [-signal.SIGKILL] * 3
        assert await machine.wait() == -signal.SIGKILL
        await machine.kill()

    async def test_machines_do_not_share_a_process_or_an_agent(self, vmm: Vmm, spec: SpecOf) -> None:
        machines = await asyncio.gather(vmm.start(spec("one")), vmm.start(spec("two")))
        try:
            first, second = machines
            assert first.pid != second.pid
            assert first.agent_socket != second.agent_socket
            await first.kill()
            assert is_alive(second.pid)
        finally:
            await asyncio.gather(*(machine.kill() for machine in machines))

    async def test_every_disk_has_a_slot_of_its_own_and_a_full_machine_refuses(
        self, vmm: Vmm, spec: SpecOf, image: Path
    ) -> None:
        machine = await vmm.start(spec("one"))
        try:
            slots = await fill(machine, image)
            assert slots
            assert len(set(slots)) == len(slots)
        finally:
            await machine.kill()

    async def test_a_detached_slot_can_be_used_again(self, vmm: Vmm, spec: SpecOf, image: Path) -> None:
        machine = await vmm.start(spec("one"))
        try:
            slots = await fill(machine, image)
            await machine.detach_disk(slots[0])
            await machine.detach_disk(slots[0])
            assert await machine.attach_disk(image, read_only=True) == slots[0]
        finally:
            await machine.kill()

    async def test_a_machine_without_a_processor_is_refused(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        impossible = replace(wanted, cpus=0)
        try:
            machine = await vmm.start(impossible)
        except MachineRefused:
            return
        await machine.kill()
        raise AssertionError("a machine with no CPU was started")
