"""Signals and thresholds, as an operator writes them: ``memory.available: 100Mi``, ``nodefs.available: 5%``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kontinuum.api.machinery import quantity
from kontinuum.foundation.errors import Refused

MEMORY, PIDS = "memory.available", "pid.available"
NODEFS, NODEFS_INODES = "nodefs.available", "nodefs.inodesFree"
IMAGEFS, IMAGEFS_INODES = "imagefs.available", "imagefs.inodesFree"
SIGNALS = (MEMORY, NODEFS, NODEFS_INODES, IMAGEFS, IMAGEFS_INODES, PIDS)
"""In the order in which they are answered: memory first, because the kernel's own answer to its lack is the worst."""
DISK_SIGNALS = frozenset((NODEFS, NODEFS_INODES, IMAGEFS, IMAGEFS_INODES))
CONDITIONS = {MEMORY: "MemoryPressure", PIDS: "PIDPressure", **dict.fromkeys(DISK_SIGNALS, "DiskPressure")}
RESOURCES = {
    MEMORY: "memory",
    PIDS: "pids",
    NODEFS: "ephemeral-storage",
    IMAGEFS: "ephemeral-storage",
    NODEFS_INODES: "inodes",
    IMAGEFS_INODES: "inodes",
}
"""What the messages call that which a signal is about."""


class BadThreshold(Refused, ValueError):
    """The setting is no threshold; the message says which, and what is expected."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity, or a share of the capacity."""

    units: int = 0
    share: float = 0.0

    def of(self, capacity: int) -> int:
        return int(capacity * self.share) if self.share else self.units


@dataclass(frozen=True, slots=True)
class Threshold:
    """Met when less than ``least`` of ``signal`` is there. ``grace`` seconds pass before pods go; 0 is a hard one."""

    signal: str
    least: Amount
    grace: float = 0.0
    reclaim: Amount = Amount()
    """So much more than ``least`` must be there before a threshold that was met is over."""

    @property
    def is_hard(self) -> bool:
        return not self.grace


def parse_amount(setting: str, text: str) -> Amount:
    """``5%`` or ``100Mi``. Raises BadThreshold."""
    try:
        if not text.endswith("%"):
            amount = quantity.value(text)
            if amount < 0:
                raise ValueError
            return Amount(units=amount)
        share = float(text[:-1]) / 100
        # The kubelet takes 0% and 100% as "not at all".
        if not 0 <= share <= 1:
            raise ValueError
        return Amount(share=share % 1)
    except ValueError:
        raise BadThreshold(f'{setting}: "{text}" is neither a quantity like 100Mi nor a share like 5%') from None


def thresholds(
    hard: Mapping[str, str],
    soft: Mapping[str, str] = {},
    soft_grace: Mapping[str, float] = {},
    minimum_reclaim: Mapping[str, str] = {},
) -> tuple[Threshold, ...]:
    """All thresholds of the four settings, in the signals' order. Raises BadThreshold."""
    groups: dict[str, Mapping[str, object]] = {
        "eviction_hard": hard,
        "eviction_soft": soft,
        "eviction_soft_grace_period": soft_grace,
        "eviction_minimum_reclaim": minimum_reclaim,
    }
    for setting, values in groups.items():
        for signal in values:
            if signal not in SIGNALS:
                raise BadThreshold(f'{setting}: there is no signal "{signal}"; there are {", ".join(SIGNALS)}')
    reclaims = {signal: parse_amount("eviction_minimum_reclaim", text) for signal, text in minimum_reclaim.items()}
    found: list[Threshold] = []
    for signal in SIGNALS:
        reclaim = reclaims.get(signal, Amount())
        if signal in hard:
            found.append(Threshold(signal, parse_amount("eviction_hard", hard[signal]), reclaim=reclaim))
        if signal in soft:
            grace = soft_grace.get(signal, 0.0)
            if grace <= 0:
                raise BadThreshold(f'eviction_soft: "{signal}" needs seconds in eviction_soft_grace_period')
            found.append(Threshold(signal, parse_amount("eviction_soft", soft[signal]), grace, reclaim))
    return tuple(one for one in found if one.least != Amount())
