"""What a score is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import FollowingScore, Rows, Scope
from kontinuum.scheduler.snapshot import Column, Snapshot


def always(demand: Demand, snapshot: Snapshot) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Score:
    """A function of a demand, a snapshot and the nodes that fit."""

    name: str
    """The Kubernetes plugin that does the same."""
    weight: int
    """What a point counts, unless a profile says otherwise."""
    points: Callable[[Demand, Snapshot, Mask], Column]
    """0 to 100 for every row; only those of the mask, the nodes that fit, mean anything."""
    applies: Callable[[Demand, Snapshot], bool] = always
    """False if every node has 0 points, whatever pods come or go: the score is not asked."""
    scope: Scope = Scope.CLUSTER
    points_rows: Callable[[Demand, Snapshot, Rows], Column] | None = None
    """What ``points`` says of some rows, whichever nodes fit; for the scope ROWS."""
    follow: Callable[[Demand, Snapshot], FollowingScore] | None = None
    """An answer that keeps up with the pods; for the scope CLUSTER, where asking anew takes long."""
