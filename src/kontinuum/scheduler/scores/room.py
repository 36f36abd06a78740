"""More points for more room left, or for less: the scoring strategies of Kubernetes' plugin NodeResourcesFit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from kontinuum.scheduler.amounts import CPU, EPHEMERAL_STORAGE, MEMORY
from kontinuum.scheduler.demand import Asked, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import ALL, Rows, Scope, at, higher, lower
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot

NATIVE = (CPU, MEMORY, EPHEMERAL_STORAGE)
"""Resources that count although the pod asks for none of them; others count only for pods that ask."""


def room(*, weights: Mapping[str, int] | None = None, least: bool = True) -> Score:
    """The score by the resources in ``weights`` (cpu and memory alike if None).

    ``least``: LeastAllocated, the mean of the shares that are still free with the pod in place; else MostAllocated, the
    mean of the shares in use. A resource counts by its weight, and only on nodes that have it.
    """
    of_rows = partial(_points, weights or {CPU: 1, MEMORY: 1}, least)

    def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
        return of_rows(demand, snapshot, ALL)

    return Score("NodeResourcesFit", 1, points, scope=Scope.ROWS, points_rows=of_rows)


def _points(weights: Mapping[str, int], least: bool, asked: Asked, snapshot: Snapshot, rows: Rows) -> Column:
    total = at(snapshot.changed, rows) * 0
    weighed = total
    for resource, weight in weights.items():
        if resource in (CPU, MEMORY):
            used = at(snapshot.compared(resource), rows) + asked.compared.get(resource, 0)
        elif resource in NATIVE or resource in asked.requests:
            used = at(snapshot.requested(resource), rows) + asked.requests.get(resource, 0)
        else:
            continue
        capacity = at(snapshot.allocatable(resource), rows)
        counted = higher(capacity - used, 0) if least else lower(used, capacity)
        total = total + weight * (counted * 100 // higher(capacity, 1))
        weighed = weighed + weight * (capacity > 0)
    points: Column = total // higher(weighed, 1)
    return points


SCORE = room()
