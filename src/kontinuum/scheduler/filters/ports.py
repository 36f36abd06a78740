"""Two pods cannot take one port of one node's address."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand, HostPort
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.snapshot import Snapshot

EVERYWHERE = ("", "0.0.0.0")


def collide(one: HostPort, other: HostPort) -> bool:
    """True if both cannot be on one node: same protocol and port, and addresses that overlap."""
    if (one.protocol, one.port) != (other.protocol, other.port):
        return False
    return one.address == other.address or one.address in EVERYWHERE or other.address in EVERYWHERE


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    mask = np.ones_like(snapshot.alive)
    for wanted in demand.host_ports:
        for taken, rows in snapshot.host_ports.items():
            if collide(wanted, taken):
                mask[list(rows)] = False
    return mask


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.host_ports)


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    return [("node(s) didn't have free ports for the requested pod ports", ~fits(demand, snapshot))]


def freed_by_pods(demand: Demand, snapshot: Snapshot) -> Mask:
    return ~fits(demand, snapshot)


FILTER = Filter("NodePorts", fits, reasons, freed_by_pods, applies=applies)
