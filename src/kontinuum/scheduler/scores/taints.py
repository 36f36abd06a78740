"""PreferNoSchedule: the fewer such taints the pod does not tolerate, the better; the worst node has 0."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.taints import tolerates
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot


def score(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    counts = [
        sum(taint.effect == "PreferNoSchedule" and not tolerates(demand, taint) for taint in taints)
        for taints in snapshot.taint_sets
    ]
    disliked: Column = np.array(counts, np.int64)[snapshot.taint_set]
    worst = int(disliked[feasible].max(initial=0))
    return 100 - disliked * 100 // worst if worst else np.full_like(disliked, 100)


SCORE = Score("TaintToleration", 3, score, scope=Scope.NODES)
