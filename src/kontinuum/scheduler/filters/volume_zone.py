"""A volume that is labelled with zones or regions is used there; nodes that say nothing of theirs are taken to be."""

from __future__ import annotations

import numpy as np

from kontinuum.api.kubernetes import binding
from kontinuum.api.machinery.objects import labels_of
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Snapshot

ELSEWHERE = "node(s) had no available volume zone"
STABLE = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
KEYS = (*STABLE, *STABLE.values())


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.wishes.claims)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    mask = np.ones_like(snapshot.alive)
    if not demand.wishes.claims:
        return mask
    for key, values in _constraints(demand, snapshot):
        there = snapshot.labels.equals_any(key, values)
        if key in STABLE:
            there |= snapshot.labels.equals_any(STABLE[key], values)
        mask &= there
    if mask.all():
        return mask
    somewhere = np.zeros_like(snapshot.alive)
    for key in KEYS:
        somewhere |= snapshot.labels.has(key)
    return mask | ~somewhere


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [(ELSEWHERE, ~fits(demand, snapshot))]


def _constraints(demand: Demand, snapshot: Snapshot) -> list[tuple[str, list[str]]]:
    """The labels of the pod's volumes; ``a__b`` is either."""
    found = []
    for claimed in demand.wishes.claims:
        claim = snapshot.storage.claim(demand.wishes.key(claimed))
        volume = snapshot.storage.volume(binding.volume_of(claim)) if claim is not None else None
        for key, value in labels_of(volume).items() if volume is not None else ():
            if key in KEYS:
                found.append((key, value.split("__")))
    return found


FILTER = Filter("VolumeZone", fits, reasons, applies=applies)
