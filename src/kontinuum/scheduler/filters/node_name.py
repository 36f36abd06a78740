"""A pod that names its node fits there only."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.node_name)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    if not demand.node_name:
        return np.ones_like(snapshot.alive)
    mask = np.zeros_like(snapshot.alive)
    if demand.node_name in snapshot.row_of:
        mask[snapshot.row_of[demand.node_name]] = True
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [("node(s) didn't match the requested node name", ~fits(demand, snapshot))]


FILTER = Filter("NodeName", fits, reasons, applies=applies, scope=Scope.NODES)
