"""Preferred node affinity: the sum of the weights of the terms that match, scaled so that the best node has 100."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.affinity import term_matches
from kontinuum.scheduler.scores.port import scaled
from kontinuum.scheduler.snapshot import Column, Snapshot


def liked(demand: Demand, snapshot: Snapshot) -> Column:
    """The sum of the weights, for each node."""
    weights = np.zeros(len(snapshot.alive), np.int64)
    for weight, term in demand.preferred:
        weights += weight * term_matches(term, snapshot)
    return weights


def scale(weights: Column, best: int) -> Column:
    return weights * 100 // best if best else weights


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.preferred)


SCORE = scaled("NodeAffinity", 2, liked, scale, applies=applies)
