"""A node takes no more volumes of a CSI driver than its CSINode says."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage.matching import identity, identity_of_volume

TOO_MANY = "node(s) exceed max volume count"


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.wishes.claims)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    mask = np.ones_like(snapshot.alive)
    for driver, wanted in _wanted(demand, snapshot).items():
        for node, limit in snapshot.storage.limits.get(driver, {}).items():
            row = snapshot.row_of.get(node)
            if row is not None:
                mask[row] &= _fits_beside(driver, wanted, snapshot, node, limit)
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [(TOO_MANY, ~fits(demand, snapshot))]


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    """Nodes that could take the pod's volumes if they had no others."""
    mask = ~fits(demand, snapshot)
    for driver, wanted in _wanted(demand, snapshot).items():
        for node, limit in snapshot.storage.limits.get(driver, {}).items():
            if node in snapshot.row_of and len(wanted) > limit:
                mask[snapshot.row_of[node]] = False
    return mask


def _wanted(demand: Demand, snapshot: Snapshot) -> dict[str, set[str]]:
    """The handles of the pod's volumes, by driver; nothing if no driver limits anything."""
    found: dict[str, set[str]] = {}
    if not demand.wishes.claims or not snapshot.storage.limits:
        return found
    for claimed in demand.wishes.claims:
        if known := identity(demand.wishes.key(claimed), snapshot.storage):
            found.setdefault(known[0], set()).add(known[1])
    return found


def _fits_beside(driver: str, wanted: set[str], snapshot: Snapshot, node: str, limit: int) -> bool:
    storage = snapshot.storage
    claims = storage.claims_on.get(snapshot.row_of[node], {})
    attached = storage.attached.get(node, {})
    if len(wanted) + len(claims) + len(attached) <= limit:
        return True  # Whatever drivers they are of: seen without looking at each.
    known = [identity(key, storage) for key in claims]
    known += [identity_of_volume(storage.volume(name)) for name in attached.values()]
    there = {one[1] for one in known if one is not None and one[0] == driver}
    # A pod that adds no volume adds no problem, even where there are too many.
    return wanted <= there or len(there | wanted) <= limit


FILTER = Filter("NodeVolumeLimits", fits, reasons, freed_by_pods, applies=applies)
