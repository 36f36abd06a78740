"""QEMU keeps the port's promises, and a template that is damaged costs a cold boot, not a pod."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.guests import GUEST, jail_below, layers_below

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest import connection
from kontinuum.runtime.vmm import accelerator
from kontinuum.runtime.vmm.conformance import AnotherVmm, SpecOf, TemplateSuite, VmmSuite, specs_below
from kontinuum.runtime.vmm.port import DISK_BYTES, Vmm
from kontinuum.runtime.vmm.qemu import backend

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def templates() -> Iterator[Path]:
    """Templates live in shared memory, and are made once for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="kontinuum-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def another_vmm(templates: Path) -> AnotherVmm:
    async def find() -> backend.Qemu:
        return await backend.find(
            guest=GUEST,
            templates=templates,
            accelerator=await accelerator.probe(),
            agent_ready=connection.wait_ready,
            clock=RealClock(),
            jail=jail_below(templates),
            layers=layers_below(templates),
        )

    return find


@pytest.fixture
async def vmm(another_vmm: AnotherVmm) -> Vmm:
    return await another_vmm()


@pytest.fixture
def spec() -> Iterator[SpecOf]:
    parent = Path(tempfile.mkdtemp(prefix="kt-", dir="/run"))

    yield specs_below(parent)
    shutil.rmtree(parent)


class TestQemu(VmmSuite, TemplateSuite):
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, DISK_BYTES)
        return image
