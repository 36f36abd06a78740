"""Taints with NoSchedule or NoExecute keep away who does not tolerate them."""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.port import Filter, Reasons
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Scope
from kontinuum.scheduler.snapshot import Snapshot, Taint


def tolerates(demand: Demand, taint: Taint) -> bool:
    return any(toleration.tolerates(*taint) for toleration in demand.tolerations)


def fits(demand: Demand, snapshot: Snapshot) -> Mask:
    # Decided once for each set of taints there is, then looked up for every node.
    verdicts = [
        all(taint.effect == "PreferNoSchedule" or tolerates(demand, taint) for taint in taints)
        for taints in snapshot.taint_sets
    ]
    mask: Mask = np.array(verdicts, np.bool_)[snapshot.taint_set]
    return mask


def reasons(demand: Demand, snapshot: Snapshot) -> Reasons:
    # Kubernetes stopped naming the taint in 1.35; scripts that know the older text match this one's beginning too.
    return [("node(s) had untolerated taint(s)", ~fits(demand, snapshot))]


FILTER = Filter("TaintToleration", fits, reasons, scope=Scope.NODES)
