"""The fake VMM keeps the port's promises, so that what is tested with it may be believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kontinuum.runtime.vmm.conformance import SpecOf, VmmSuite, specs_below
from kontinuum.runtime.vmm.fake.backend import FakeVmm
from kontinuum.runtime.vmm.port import DISK_BYTES, Vmm


class TestFakeVmm(VmmSuite):
    @pytest.fixture
    def vmm(self) -> Vmm:
        return FakeVmm()

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SpecOf:
        return specs_below(tmp_path)

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, DISK_BYTES)
        return image
