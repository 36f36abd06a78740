"""More points for more room left (Kubernetes' LeastAllocated)."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import CPU, MEMORY, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot


def score(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    """The mean, over cpu and memory, of the share that is still free with the pod in place."""
    total = np.zeros(len(snapshot.alive), np.int64)
    counted = np.zeros(len(snapshot.alive), np.int64)
    for resource in (CPU, MEMORY):
        capacity = snapshot.allocatable(resource)
        free = np.maximum(0, capacity - snapshot.compared(resource) - demand.compared.get(resource, 0))
        total += (free / np.maximum(1, capacity) * 100).astype(np.int64)
        counted += capacity > 0
    # A shift, because dividing 5,000 integers takes as long as all the rest of this score.
    points: Column = np.where(counted == 2, total >> 1, total)
    return points


SCORE = Score("NodeResourcesFit", 1, score)
