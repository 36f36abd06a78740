"""What pods on a node ask for, all together, must not exceed what the node can give."""

from __future__ import annotations

from kontinuum.scheduler.demand import PODS, Asked, Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import ALL, Rows, Scope, at
from kontinuum.scheduler.snapshot import Snapshot


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    return fits_rows(demand, snapshot, ALL)


def fits_rows(asked: Asked, snapshot: Snapshot, rows: Rows) -> Mask:
    mask = at(snapshot.alive, rows)
    for resource, amount in asked.requests.items():
        mask = mask & (at(snapshot.requested(resource), rows) + amount <= at(snapshot.allocatable(resource), rows))
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [
        (
            "Too many pods" if resource == PODS else f"Insufficient {resource}",
            snapshot.requested(resource) + amount > snapshot.allocatable(resource),
        )
        for resource, amount in demand.requests.items()
    ]


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    """Nodes that could hold the pod if they were empty."""
    mask = ~fits(demand, snapshot)
    for resource, amount in demand.requests.items():
        mask &= amount <= snapshot.allocatable(resource)
    return mask


FILTER = Filter("NodeResourcesFit", fits, reasons, freed_by_pods, scope=Scope.ROWS, fits_rows=fits_rows)
