"""Firecracker's backend keeps the port's promises, against a fake that speaks its public API."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime.guest import connection
from kontinuum.runtime.vmm.conformance import AnotherVmm, SpecOf, TemplateSuite, VmmSuite, specs_below
from kontinuum.runtime.vmm.firecracker.backend import Firecracker
from kontinuum.runtime.vmm.firecracker.fake import FakeLauncher
from kontinuum.runtime.vmm.port import DISK_BYTES, Vmm
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
        return Firecracker(launcher, found, version=(1, 14, 0), agent_ready=connection.wait_ready, clock=RealClock())

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
