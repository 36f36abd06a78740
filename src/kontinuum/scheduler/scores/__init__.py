"""Which of the nodes that fit is best: one score a file, 0 to 100 for each node, weighed as Kubernetes weighs them.

To add a score: write its file, and put it in SCORES with its weight.
"""

from __future__ import annotations

from collections.abc import Callable

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scores import affinity, balance, room, taints
from kontinuum.scheduler.snapshot import Column, Snapshot

Score = Callable[[Demand, Snapshot, Mask], Column]
"""Points for every row; only those of the mask, the nodes that fit, mean anything."""

SCORES: tuple[tuple[int, Score], ...] = (
    (3, taints.score),
    (2, affinity.score),
    (1, room.score),
    (1, balance.score),
)

__all__ = ["SCORES", "Score"]
