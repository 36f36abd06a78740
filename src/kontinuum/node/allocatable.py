"""What of the machine pods may have: its capacity less what the system, the node's own parts and eviction keep. Pure.

    capacity ─┬─ kube_reserved, system_reserved ──▶ limits of the cgroup of all pods: memory, processes
              └─ and the hard eviction thresholds ──▶ allocatable: what the scheduler may promise
Kubernetes' "Reserve Compute Resources for System Daemons".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from kontinuum.api.machinery import quantity
from kontinuum.foundation.errors import Refused
from kontinuum.node.eviction.thresholds import MEMORY, NODEFS, Threshold

CPU, STORAGE, PIDS = "cpu", "ephemeral-storage", "pid"
RESERVABLE = (CPU, "memory", STORAGE, PIDS)


class BadReservation(Refused, ValueError):
    """The setting reserves what cannot be reserved; the message says what can."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Millicores, bytes of memory and of the node's disk, and processes and threads."""

    cpu: int
    memory: int
    storage: int
    pids: int = 0

    def less(self, other: Amounts) -> Amounts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Amounts(*(max(0, has - keeps) for has, keeps in pairs))


def reserved(**settings: Mapping[str, str]) -> Amounts:
    """The sum of reservations; each is called by its setting's name. Raises BadReservation."""
    sums = dict.fromkeys(RESERVABLE, 0)
    for setting, amounts in settings.items():
        for kind, text in amounts.items():
            if kind not in RESERVABLE:
                raise BadReservation(f'{setting}: "{kind}" cannot be reserved; {", ".join(RESERVABLE)} can')
            try:
                amount = quantity.milli(text) if kind == CPU else quantity.value(text)
            except quantity.InvalidQuantity:
                raise BadReservation(f'{setting}: "{text}" of {kind} is no quantity') from None
            if amount < 0:
                raise BadReservation(f"{setting}: {kind} must not be negative")
            sums[kind] += amount
    return Amounts(sums[CPU], sums["memory"], sums[STORAGE], sums[PIDS])


def held_back(thresholds: tuple[Threshold, ...], capacity: Amounts) -> Amounts:
    """What hard thresholds keep free: a pod that used it would be evicted."""
    hard = {one.signal: one.least for one in thresholds if one.is_hard}
    memory = hard[MEMORY].of(capacity.memory) if MEMORY in hard else 0
    storage = hard[NODEFS].of(capacity.storage) if NODEFS in hard else 0
    return Amounts(0, memory, storage)
