"""The fake VMM keeps the port's promises, so that what is tested with it may be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kontinuum.runtime.vmm.conformance import SpecOf, VmmSuite
from kontinuum.runtime.vmm.fake.backend import FakeVmm
from kontinuum.runtime.vmm.port import MachineSpec, Vmm


class TestFakeVmm(VmmSuite):
    @pytest.fixture
    def vmm(self) -> Vmm:
        return FakeVmm()

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SpecOf:
        def make(name: str) -> MachineSpec:
            (tmp_path / name).mkdir()
            return MachineSpec(
                id=name,
                memory_bytes=128 << 20,
                cpus=1,
                tap=None,
                mac="02:00:00:00:00:02",
                directory=tmp_path / name,
            )

        return make

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        image = tmp_path / "image"
        image.touch()
        return image
