"""Which VMM this host's machines run on: a decision from facts, and the facts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from kontinuum.foundation import process
from kontinuum.foundation.errors import Broken
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm.accelerator import Accelerator

Name = Literal["qemu", "firecracker"]
FIRECRACKER = "firecracker"
MOST_CPUS = 32
"""Of a Firecracker's machine; pods on a host with more may ask for more."""


class LimitsNotHeld(Broken):
    """The settings ask for limits that the VMM of this host does not hold."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``reason`` says why, for people."""

    name: Name
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What this host has."""

    accelerator: Accelerator
    firecracker: str
    """Its program; empty if there is none."""
    cpus: int
    """The most that a machine may be asked to have."""


def decide(wanted: Literal["auto", "qemu", "firecracker"], facts: Facts) -> Choice:
    """``auto`` takes Firecracker where it can do all that may be asked of it, and QEMU, which needs less, elsewhere."""
    if wanted != "auto":
        return Choice(wanted, "the settings say so (runtime.vmm)")
    if not facts.firecracker:
        return Choice("qemu", "firecracker is not on the PATH")
    if facts.accelerator.name != "kvm":
        return Choice("qemu", f"Firecracker needs KVM: {facts.accelerator.reason}")
    if facts.cpus > MOST_CPUS:
        return Choice(
            "qemu", f"pods may have {facts.cpus} CPUs, a Firecracker's machine {MOST_CPUS} (runtime.maximum_cpus)"
        )
    return Choice("firecracker", f"{facts.firecracker} is there, and KVM works")


def choose(settings: RuntimeSettings, accelerator: Accelerator) -> Choice:
    """``decide`` for this host. Raises LimitsNotHeld."""
    program = process.find_program(FIRECRACKER)
    cpus = settings.maximum_cpus or os.cpu_count() or 1
    choice = decide(settings.vmm, Facts(accelerator, str(program or ""), cpus))
    if choice.name == "qemu" and (settings.machine_disk_bytes_per_second or settings.machine_network_bytes_per_second):
        raise LimitsNotHeld(
            "runtime.machine_disk_bytes_per_second and machine_network_bytes_per_second are held by Firecracker alone, "
            f"and machines run on QEMU here ({choice.reason}): set them to 0, and limits on pods"
        )
    return choice
