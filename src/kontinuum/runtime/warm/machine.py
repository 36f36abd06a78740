"""What a standby hands to the sandbox that it becomes."""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.runtime.guest.port import Guest
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.vmm.port import Machine


@dataclass(frozen=True, slots=True)
class Warm:
    """A paused machine that belongs to no pod yet, its agent, and the tap that it was born with."""

    machine: Machine
    guest: Guest
    tap: Apart | None
    """Closed by who takes the machine; None if the machine has brought its own."""
