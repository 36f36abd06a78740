"""What a score is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Column, Snapshot


@dataclass(frozen=True, slots=True)
class Score:
    """A function of a demand, a snapshot and the nodes that fit."""

    name: str
    """The Kubernetes plugin that does the same."""
    weight: int
    """What a point counts, unless a profile says otherwise."""
    points: Callable[[Demand, Snapshot, Mask], Column]
    """0 to 100 for every row; only those of the mask, the nodes that fit, mean anything."""
