"""PreferNoSchedule: the fewer such taints the pod does not tolerate, the better; the worst node has 0."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.taints import tolerates
from kontinuum.scheduler.scores.port import scaled
from kontinuum.scheduler.snapshot import Column, Snapshot


def disliked(demand: Demand, snapshot: Snapshot) -> Column:
    """How many such taints each node has."""
    counts = [
        sum(taint.effect == "PreferNoSchedule" and not tolerates(demand, taint) for taint in taints)
        for taints in snapshot.taint_sets
    ]
    of_nodes: Column = np.array(counts, np.int64)[snapshot.taint_set]
    return of_nodes


def scale(counts: Column, worst: int) -> Column:
    return 100 - counts * 100 // worst if worst else np.full_like(counts, 100)


SCORE = scaled("TaintToleration", 3, disliked, scale)
