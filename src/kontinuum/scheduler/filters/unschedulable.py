"""Nodes that were cordoned take nobody, except who tolerates just that."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot

TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    if any(toleration.tolerates(*TAINT) for toleration in demand.tolerations):
        return np.ones_like(snapshot.alive)
    return ~snapshot.unschedulable


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [("node(s) were unschedulable", ~fits(demand, snapshot))]


FILTER = Filter("NodeUnschedulable", fits, reasons, scope=Scope.NODES)
