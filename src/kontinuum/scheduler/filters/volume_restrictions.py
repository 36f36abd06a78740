"""Disks that one pod has are not another's on the same node, and a ReadWriteOncePod claim is one pod's alone."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage.wishes import collide

DISK_TAKEN = "node(s) had no available disk"
CLAIM_TAKEN = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)


def refuses_all(demand: Demand, snapshot: Snapshot) -> str:
    for claimed in demand.wishes.claims:
        if not claimed.is_ephemeral and snapshot.storage.claim(demand.wishes.key(claimed)) is None:
            return f'persistentvolumeclaim "{claimed.claim}" not found'
    return ""


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.wishes.claims or demand.wishes.disks)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    if not demand.wishes.claims and not demand.wishes.disks:
        return np.ones_like(snapshot.alive)
    if refuses_all(demand, snapshot) or _users_of_own(demand, snapshot):
        return np.zeros_like(snapshot.alive)
    return ~_taken_disks(demand, snapshot)


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    everywhere = np.full_like(snapshot.alive, bool(_users_of_own(demand, snapshot)))
    return [(DISK_TAKEN, _taken_disks(demand, snapshot)), (CLAIM_TAKEN, everywhere)]


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    """Where the pods are that have the disk, or all those that have the claim."""
    rows = set(_users_of_own(demand, snapshot))
    mask = _taken_disks(demand, snapshot)
    if rows:
        mask = np.zeros_like(snapshot.alive)
        if len(rows) == 1:
            mask[list(rows)] = True
    return mask


def _taken_disks(demand: Demand, snapshot: Snapshot) -> Mask:
    mask = np.zeros_like(snapshot.alive)
    for wanted in demand.wishes.disks:
        for taken, rows in snapshot.storage.disks_used.items():
            if collide(wanted, taken):
                mask[list(rows)] = True
    return mask


def _users_of_own(demand: Demand, snapshot: Snapshot) -> list[int]:
    """The rows whose pods use a claim that is to be one pod's alone."""
    rows: list[int] = []
    for claimed in demand.wishes.claims:
        key = demand.wishes.key(claimed)
        used = snapshot.storage.claims_used.get(key)
        if used:
            claim = snapshot.storage.claim(key)
            if claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ()):
                rows += used
    return rows


FILTER = Filter("VolumeRestrictions", fits, reasons, freed_by_pods, refuses_all, applies=applies)
