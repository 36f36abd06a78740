"""QEMU keeps the port's promises, and a template that is damaged costs a cold boot, not a pod."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.machines.guests import GUEST, jail_below

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest import connection
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.conformance import SpecOf, VmmSuite, specs_below
from kontinuum.runtime.vmm.port import DISK_BYTES
from kontinuum.runtime.vmm.qemu import backend

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def templates() -> Iterator[Path]:
    """Templates live in shared memory, and are made once for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="kontinuum-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def vmm(templates: Path) -> backend.Qemu:
    return await find(templates)


async def find(templates: Path) -> backend.Qemu:
    return await backend.find(
        guest=GUEST,
        templates=templates,
        accelerator=await accelerator.probe(),
        agent_ready=connection.wait_ready,
        clock=RealClock(),
        jail=jail_below(templates),
    )


@pytest.fixture
def spec() -> Iterator[SpecOf]:
    parent = Path(tempfile.mkdtemp(prefix="kt-", dir="/run"))

    yield specs_below(parent)
    shutil.rmtree(parent)


class TestQemu(VmmSuite):
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, DISK_BYTES)
        return image


async def test_a_damaged_template_is_discarded_and_the_machine_boots_cold(
    vmm: backend.Qemu, spec: SpecOf, templates: Path
) -> None:
    await vmm.prepare(memory_bytes=128 << 20, cpus=1)
    [state] = templates.glob("*/state")
    state.write_bytes(b"not what QEMU wrote")
    machine = await vmm.start(spec("one"))
    try:
        assert machine.origin == "cold"
        assert not state.exists()
    finally:
        await machine.kill()


async def test_a_template_is_looked_at_byte_by_byte_before_it_is_trusted_again(
    vmm: backend.Qemu, templates: Path
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
    another = await find(templates)
    await another.prepare(memory_bytes=128 << 20, cpus=1)
    assert memory.stat().st_ino != before.st_ino
    untouched = memory.stat().st_ino
    await (await find(templates)).prepare(memory_bytes=128 << 20, cpus=1)
    assert memory.stat().st_ino == untouched


async def test_a_size_that_was_missed_is_made_when_asked_for(vmm: backend.Qemu, spec: SpecOf) -> None:
    wanted = spec("one")
    larger = replace(wanted, memory_bytes=150 << 20)
    first = await vmm.start(larger)
    await first.kill()
    assert first.origin == "cold"
    await vmm.prepare_wanted()
    second = await vmm.start(larger)
    await second.kill()
    assert second.origin == "template"
