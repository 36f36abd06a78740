"""A pod's claims can be on the node: bound volumes are within reach, unbound claims find one or can be provisioned."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage import matching

OUT_OF_REACH = "node(s) didn't match PersistentVolume's node affinity"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
NO_ROOM = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


def refuses_all(demand: Demand, snapshot: Snapshot) -> str:
    return matching.refusal(demand.wishes, snapshot.storage)


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.wishes.claims)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    if not demand.wishes.claims:
        return np.ones_like(snapshot.alive)
    if matching.refusal(demand.wishes, snapshot.storage):
        return np.zeros_like(snapshot.alive)
    return matching.survey(demand.wishes, snapshot.storage, snapshot).fits


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    found = matching.survey(demand.wishes, snapshot.storage, snapshot)
    missing = np.full_like(snapshot.alive, not found.complete)
    return [
        (OUT_OF_REACH, ~found.reachable),
        (NOTHING_TO_BIND, ~found.bindable),
        (NO_ROOM, ~found.roomy),
        (NO_VOLUME, missing),
    ]


FILTER = Filter("VolumeBinding", fits, reasons, refuses_all=refuses_all, applies=applies)
