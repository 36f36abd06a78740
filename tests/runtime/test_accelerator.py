"""The probe tells KVM that works from KVM that is merely there, and never hangs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kontinuum.runtime.vmm import accelerator, kvm_loop

needs_kvm = pytest.mark.skipif(not accelerator.DEVICE.exists(), reason="this host has no /dev/kvm")


async def test_a_host_without_the_device_translates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "kvm")
    found = await accelerator.probe()
    assert found.name == "tcg"
    assert "does not exist" in found.reason


@pytest.mark.machine
@needs_kvm
def test_a_loop_that_is_short_enough_halts_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the probe would say TCG everywhere because of an error of its own."""
    monkeypatch.setattr(kvm_loop, "LOOP", b"\xb9" + struct.pack("<I", 100) + b"\xff\xc9\x75\xfc\xf4")
    # A busy host may keep this process waiting longer than the probe's patience, but hardly every time.
    assert any(kvm_loop.run_loop() is not None for _ in range(10))


@pytest.mark.machine
@needs_kvm
def test_a_loop_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm_loop, "LOOP", b"\xeb\xfe")
    assert kvm_loop.run_loop() is None


async def test_the_probe_gives_its_reason() -> None:
    found = await accelerator.probe()
    assert found.name in ("kvm", "tcg")
    assert found.reason
