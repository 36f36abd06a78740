"""What every VMM must do, as tests: a backend's test file derives from the suites and gives their fixtures.

    class TestQemu(VmmSuite):
        @pytest.fixture
        async def vmm(self): ...
        @pytest.fixture
        def spec(self, tmp_path): return specs_below(tmp_path)
        @pytest.fixture
        def image(self, tmp_path): return an empty disk image of DISK_BYTES

A backend that clones machines from ``Templates`` derives from ``TemplateSuite`` too; it needs ``templates``, their
directory, in which nobody else makes any, and ``another_vmm``, which makes a backend as a restart would: over the same
directory, with nothing in its mind. The suites use nothing of pytest itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from kontinuum.runtime import layers
from kontinuum.runtime.guest import connection
from kontinuum.runtime.guest.port import GuestLost
from kontinuum.runtime.vmm.cloning import CloningVmm
from kontinuum.runtime.vmm.port import DiskInUse, Machine, MachineNotStarted, MachineRefused, MachineSpec, Vmm
from kontinuum.runtime.vmm.templates import Hardware

SpecOf = Callable[[str], MachineSpec]
AnotherVmm = Callable[[], Awaitable[CloningVmm[Hardware, Machine]]]
MORE_THAN_ANY_MACHINE_HAS = 64
ANSWER_SECONDS = 60.0
"""For whatever must not take for ever; nothing here is about speed."""


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


async def answers(machine: Machine) -> None:
    """Its agent says who it is, and can be called again after that."""
    for _ in range(2):
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.wait_ready(machine.dial_agent)


async def is_refused(attaching: Awaitable[str], *, by: type[Exception]) -> bool:
    async with asyncio.timeout(ANSWER_SECONDS):
        try:
            await attaching
        except by:
            return True
    return False


@asynccontextmanager
async def running(vmm: Vmm, *specs: MachineSpec) -> AsyncIterator[list[Machine]]:
    """Machines of these specifications, started at the same time; they are gone when the block ends."""
    started = await asyncio.gather(*(vmm.start(spec) for spec in specs))
    try:
        yield started
    finally:
        await asyncio.gather(*(machine.kill() for machine in started))


class VmmSuite:
    """Each test is a claim about the port."""

    async def test_a_machine_is_a_living_process_whose_agent_answers(self, vmm: Vmm, spec: SpecOf) -> None:
        async with running(vmm, spec("one")) as [machine]:
            assert is_alive(machine.pid)
            assert machine.origin in ("template", "cold")
            await answers(machine)

    async def test_a_prepared_size_does_not_boot_cold(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        await vmm.prepare(memory_bytes=wanted.memory_bytes, cpus=wanted.cpus)
        async with running(vmm, wanted) as [machine]:
            assert machine.origin == "template"
            await answers(machine)

    async def test_killing_leaves_no_process_and_no_file_and_may_be_repeated(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        before = set(wanted.directory.iterdir())
        machine = await vmm.start(wanted)
        await asyncio.gather(machine.kill(), machine.kill())
        assert not is_alive(machine.pid)
        assert set(wanted.directory.iterdir()) == before
        await machine.kill()

    async def test_everybody_learns_how_a_machine_ended_and_nothing_more_is_got_from_it(
        self, vmm: Vmm, spec: SpecOf, image: Path
    ) -> None:
        machine = await vmm.start(spec("one"))
        waiting = [asyncio.ensure_future(machine.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(machine.pid, signal.SIGKILL)
        assert await asyncio.gather(*waiting) == [-signal.SIGKILL] * 3
        assert await machine.wait() == -signal.SIGKILL
        assert await is_refused(machine.attach_disk(image, read_only=True), by=MachineNotStarted)
        try:
            async with asyncio.timeout(0.1):
                await connection.wait_ready(machine.dial_agent)
        except (GuestLost, TimeoutError):
            pass  # cut off, or still calling, as whoever waits for a boot does: not an answer
        else:
            raise AssertionError("a dead machine's agent has answered")
        await machine.kill()

    async def test_machines_do_not_share_a_process_or_an_agent(self, vmm: Vmm, spec: SpecOf) -> None:
        async with running(vmm, spec("one"), spec("two")) as [first, second]:
            assert first.pid != second.pid
            await first.kill()
            assert is_alive(second.pid)
            await answers(second)

    async def test_every_disk_has_a_slot_of_its_own_and_a_full_machine_refuses(
        self, vmm: Vmm, spec: SpecOf, image: Path
    ) -> None:
        async with running(vmm, spec("one")) as [machine]:
            slots = await fill(machine, image)
            assert slots
            assert len(set(slots)) == len(slots)
            await machine.detach_disk(slots[0])
            await machine.detach_disk(slots[0])
            assert await machine.attach_disk(image, read_only=True) == slots[0]

    async def test_many_machines_read_a_disk_and_one_writes_to_it(
        self, vmm: Vmm, spec: SpecOf, image: Path, tmp_path: Path
    ) -> None:
        disk = tmp_path / "written"
        disk.touch()
        os.truncate(disk, 1 << 20)
        async with running(vmm, spec("one"), spec("two")) as [first, second]:
            assert await is_refused(first.attach_disk(disk, read_only=True), by=MachineRefused), "it is too short"
            slots = {await machine.attach_disk(image, read_only=True) for machine in (first, second)}
            slot = await first.attach_disk(disk, read_only=False)
            assert slot not in slots
            for machine in (first, second):
                assert await is_refused(machine.attach_disk(disk, read_only=False), by=DiskInUse)
            await first.detach_disk(slot)
            await second.attach_disk(disk, read_only=False)
            assert await is_refused(first.attach_disk(disk, read_only=False), by=DiskInUse)
            await second.kill()
            await first.attach_disk(disk, read_only=False)

    async def test_a_layer_is_a_new_file_that_takes_nothing_and_stays_when_it_is_taken_away(
        self, vmm: Vmm, spec: SpecOf, tmp_path: Path
    ) -> None:
        places = [tmp_path / name for name in ("first", "second", "third")]
        async with running(vmm, spec("one"), spec("two")) as [machine, other]:
            slots = [await machine.attach_layer(place) for place in places[:2]]
            assert len(set(slots)) == 2
            assert await other.attach_layer(None)
            # Whoever created the container tries it again.
            await machine.detach_disk(slots[0])
            assert await machine.attach_layer(places[0]) == slots[0]
            await machine.detach_disk(slots[0])
            await machine.detach_disk(slots[0])
            assert await machine.attach_layer(places[2]) == slots[0]
            try:
                await machine.attach_layer(tmp_path / "nowhere" / "layer")
            except OSError:
                pass
            else:
                raise AssertionError("it was made where nothing can be")
        for place in places:
            about = place.stat()
            assert (about.st_size, about.st_uid) == (layers.BYTES, os.getuid())
            assert about.st_blocks * 512 < 1 << 20

    async def test_a_paused_machine_waits_for_its_pod_and_is_renamed_meanwhile(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        async with running(vmm, wanted) as [machine]:
            await answers(machine)
            await machine.pause()
            there = wanted.directory.rename(wanted.directory.with_name("another"))
            machine.move(there)
            assert machine.is_sound()
            await machine.resume()
            await answers(machine)
        assert not set(there.iterdir())

    def test_machines_of_one_size_are_asked_for_with_any_of_its_amounts(self, vmm: Vmm) -> None:
        size = vmm.size(memory_bytes=130 << 20, cpus=1)
        assert size.memory_bytes >= 130 << 20
        assert vmm.size(memory_bytes=size.memory_bytes, cpus=size.cpus) == size

    async def test_a_machine_without_a_processor_is_refused(self, vmm: Vmm, spec: SpecOf) -> None:
        wanted = spec("one")
        impossible = replace(wanted, cpus=0)
        try:
            machine = await vmm.start(impossible)
        except MachineRefused:
            return
        await machine.kill()
        raise AssertionError("a machine with no CPU was started")


class TemplateSuite:
    """A template that is damaged costs a cold boot, not a pod."""

    async def test_a_damaged_template_is_discarded_and_the_machine_boots_cold(
        self, vmm: Vmm, spec: SpecOf, templates: Path
    ) -> None:
        await vmm.prepare(memory_bytes=128 << 20, cpus=1)
        [state] = templates.glob("*/state")
        state.write_bytes(b"not what was written")
        async with running(vmm, spec("one")) as [machine]:
            assert machine.origin == "cold"
            assert not state.exists()

    async def test_a_template_is_looked_at_byte_by_byte_before_it_is_trusted_again(
        self, vmm: Vmm, another_vmm: AnotherVmm, templates: Path
    ) -> None:
        """As after a restart: by somebody who has not made it. The one who finds a wrong bit makes it again."""
        await vmm.prepare(memory_bytes=128 << 20, cpus=1)
        [memory] = templates.glob("*/memory")
        before = memory.stat()
        with memory.open("r+b") as file:
            file.seek(5 << 20)
            [byte] = file.read(1)
            file.seek(5 << 20)
            file.write(bytes([byte ^ 1]))
        os.utime(memory, ns=(before.st_atime_ns, before.st_mtime_ns))
        await (await another_vmm()).prepare(memory_bytes=128 << 20, cpus=1)
        assert memory.stat().st_ino != before.st_ino
        untouched = memory.stat().st_ino
        await (await another_vmm()).prepare(memory_bytes=128 << 20, cpus=1)
        assert memory.stat().st_ino == untouched

    async def test_a_size_that_was_missed_is_made_when_asked_for(self, another_vmm: AnotherVmm, spec: SpecOf) -> None:
        vmm = await another_vmm()
        larger = replace(spec("one"), memory_bytes=150 << 20)
        async with running(vmm, larger) as [first]:
            assert first.origin == "cold"
        await vmm.prepare_wanted()
        async with running(vmm, larger) as [second]:
            assert second.origin == "template"
