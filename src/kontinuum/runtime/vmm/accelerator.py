"""What virtual machines run on here: KVM where it really works, QEMU's own translation (TCG) everywhere else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kontinuum.foundation import process

DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 3.0
"""For the whole child, interpreter start included; then it is killed."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """``reason`` says how that was found out, for people."""

    name: Literal["kvm", "tcg"]
    reason: str


async def probe() -> Accelerator:
    """Run the loop of ``kvm_loop`` in a child, because a broken KVM may never return. Takes 0.1 s, at most three."""
    if not DEVICE.exists():
        return Accelerator("tcg", f"{DEVICE} does not exist")
    try:
        done = await process.run(
            sys.executable, "-m", "kontinuum.runtime.vmm.kvm_loop", timeout=PROBE_SECONDS, check=False
        )
    except process.ProgramTimedOut:
        return Accelerator("tcg", "the KVM probe did not return")
    if done.code == 0:
        return Accelerator("kvm", done.text)
    return Accelerator("tcg", done.text or f"the KVM probe {process.describe_exit(done.code)}")
