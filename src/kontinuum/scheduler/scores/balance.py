"""More points for nodes whose cpu and memory fill up alike (Kubernetes' BalancedAllocation)."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import CPU, MEMORY, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot


def score(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    """100 less the standard deviation, in percent, of the shares in use; of two numbers that is half their distance."""
    shares = []
    for resource in (CPU, MEMORY):
        used = snapshot.requested(resource) + demand.requests.get(resource, 0)
        shares.append(np.minimum(1.0, used / np.maximum(1, snapshot.allocatable(resource))))
    points: Column = ((1 - np.abs(shares[0] - shares[1]) / 2) * 100).astype(np.int64)
    return points


SCORE = Score("NodeResourcesBalancedAllocation", 1, score)
