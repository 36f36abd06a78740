"""Which VMM a host's machines run on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime import backends
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm.accelerator import Accelerator
from kontinuum.runtime.vmm.choice import Facts, LimitsNotHeld, choose, decide
from kontinuum.runtime.vmm.port import VmmMissing

BEST = Facts(Accelerator("kvm", "a loop ended in time"), "/usr/bin/firecracker", cpus=8)


@pytest.mark.parametrize(
    ("facts", "name", "because"),
    [
        (BEST, "firecracker", "KVM works"),
        (replace(BEST, firecracker=""), "qemu", "not on the PATH"),
        (replace(BEST, accelerator=Accelerator("tcg", "the probe did not return")), "qemu", "probe did not return"),
        (replace(BEST, cpus=33), "qemu", "runtime.maximum_cpus"),
        (replace(BEST, cpus=32), "firecracker", "KVM works"),
    ],
)
def test_auto_takes_firecracker_where_it_can_do_all_that_may_be_asked(facts: Facts, name: str, because: str) -> None:
    choice = decide("auto", facts)
    assert choice.name == name
    assert because in choice.reason


@pytest.mark.parametrize("facts", [BEST, Facts(Accelerator("tcg", "no KVM"), "", cpus=64)])
def test_what_the_operator_has_decided_stays(facts: Facts) -> None:
    assert [decide(wanted, facts).name for wanted in ("qemu", "firecracker")] == ["qemu", "firecracker"]


async def test_a_firecracker_that_cannot_run_here_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = RuntimeSettings(
        assets_dir=str(tmp_path), run_dir="", templates_dir="", images_dir="", vmm="firecracker", accelerator="tcg"
    )
    with pytest.raises(VmmMissing, match="make assets"):
        await backends.choose(settings, RealClock())
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest/version").touch()
    with pytest.raises(VmmMissing, match="Firecracker needs KVM"):
        await backends.choose(settings, RealClock())


def test_limits_that_nobody_would_hold_are_refused() -> None:
    settings = RuntimeSettings(
        assets_dir="", run_dir="", templates_dir="", images_dir="", machine_disk_bytes_per_second=1
    )
    with pytest.raises(LimitsNotHeld, match="held by Firecracker alone"):
        choose(settings, Accelerator("kvm", "works"))
    assert choose(structs.replace(settings, vmm="firecracker"), Accelerator("kvm", "works")).name == "firecracker"
