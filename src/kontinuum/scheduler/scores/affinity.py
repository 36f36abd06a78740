"""Preferred node affinity: the sum of the weights of the terms that match, scaled so that the best node has 100."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.affinity import term_matches
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot


def score(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    points = np.zeros(len(snapshot.alive), np.int64)
    for weight, term in demand.preferred:
        points += weight * term_matches(term, snapshot)
    best = int(points[feasible].max(initial=0))
    return points * 100 // best if best else points


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.preferred)


SCORE = Score("NodeAffinity", 2, score, applies=applies, scope=Scope.NODES)
