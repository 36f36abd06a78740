"""What a score is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kontinuum.scheduler.demand import Asked, Demand
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
    raw: Callable[[Demand, Snapshot], Column] | None = None
    scale: Callable[[Column, int], Column] | None = None
    """For the scope NODES: ``points`` is ``scale(raw, most)``; ``most`` is the highest raw one of nodes that fit."""
    points_rows: Callable[[Asked, Snapshot, Rows], Column] | None = None
    """What ``points`` says of some rows, whichever nodes fit; for the scope ROWS."""
    follow: Callable[[Demand, Snapshot], FollowingScore] | None = None
    """An answer that keeps up with the pods; for the scope CLUSTER, where asking anew takes long."""


def scaled(
    name: str,
    weight: int,
    raw: Callable[[Demand, Snapshot], Column],
    scale: Callable[[Column, int], Column],
    *,
    applies: Callable[[Demand, Snapshot], bool] = always,
) -> Score:
    """A score that node objects alone decide: counts of something, at least 0, scaled by the highest of them."""

    def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
        counts = raw(demand, snapshot)
        return scale(counts, int(counts[feasible].max(initial=0)))

    return Score(name, weight, points, applies=applies, scope=Scope.NODES, raw=raw, scale=scale)
