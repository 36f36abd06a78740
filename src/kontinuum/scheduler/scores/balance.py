"""More points for nodes whose resources fill up more alike with the pod than without it.

Kubernetes' plugin NodeResourcesBalancedAllocation as it is since 1.36 (kubernetes/kubernetes#135573: before, only the
balance with the pod counted). Pods that ask for none of the resources have no points: they would gather on one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kontinuum.scheduler.amounts import CPU, MEMORY
from kontinuum.scheduler.demand import Asked, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import ALL, Rows, Scope, at, higher, lower, whole
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.scores.room import NATIVE
from kontinuum.scheduler.snapshot import Column, Snapshot


def balance(*, resources: Sequence[str] = (CPU, MEMORY)) -> Score:
    """The score by these resources."""
    of_rows = partial(_points, resources)

    def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
        return of_rows(demand, snapshot, ALL)

    def applies(demand: Demand, snapshot: Snapshot) -> bool:
        return any(resource in demand.requests for resource in resources)

    return Score(
        "NodeResourcesBalancedAllocation", 1, points, applies=applies, scope=Scope.ROWS, points_rows=of_rows
    )  # fmt: skip


def _points(resources: Sequence[str], asked: Asked, snapshot: Snapshot, rows: Rows) -> Column:
    if not any(resource in asked.requests for resource in resources):
        return at(snapshot.changed, rows) * 0
    counted = [one for one in resources if one in NATIVE or one in asked.requests]
    capacities = [at(snapshot.allocatable(resource), rows) for resource in counted]
    before = [at(snapshot.requested(resource), rows) for resource in counted]
    after = [used + asked.requests.get(resource, 0) for used, resource in zip(before, counted, strict=True)]
    return 50 + (50 + _evenness(after, capacities) - _evenness(before, capacities)) // 2


def _evenness(used: Sequence[Column], capacities: Sequence[Column]) -> Column:
    """100 less the standard deviation, in percent, of the shares in use; resources that a node lacks do not count."""
    # Through floats, so that one row's numbers are divided as columns are.
    shares = [lower(1.0 * one / higher(capacity, 1), 1.0) for one, capacity in zip(used, capacities, strict=True)]
    there = [capacity > 0 for capacity in capacities]
    if len(shares) == 2:
        deviation = abs(shares[0] - shares[1]) / 2 * (there[0] & there[1])
    else:
        deviation = _deviation(np.array(shares), np.array(there))
    points: Column = whole((1 - deviation) * 100)
    return points


def _deviation(shares: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of any number of shares, one row a resource."""
    count = np.maximum(1, there.sum(axis=0))
    mean = (shares * there).sum(axis=0) / count
    deviation: NDArray[np.float64] = np.sqrt((((shares - mean) * there) ** 2).sum(axis=0) / count)
    # Of two, it is half their distance: exactly, where a root might be off by the last digit.
    highest = np.where(there, shares, 0.0).max(axis=0)
    lowest = np.where(there, shares, 1.0).min(axis=0)
    return np.where(count == 2, (highest - lowest) / 2, deviation)


SCORE = balance()
