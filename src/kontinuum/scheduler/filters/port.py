"""What a filter is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kontinuum.scheduler.demand import Asked, Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import FollowingFilter, Rows, Scope
from kontinuum.scheduler.snapshot import Snapshot

Reasons = list[tuple[str, Mask]]


def nowhere(demand: Demand, snapshot: Snapshot) -> Mask:
    """No node: the refusal stands whatever pods leave."""
    return np.zeros_like(snapshot.alive)


def nobody(demand: Demand, snapshot: Snapshot) -> str:
    """No pod is refused whatever the node."""
    return ""


def always(demand: Demand, snapshot: Snapshot) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Filter:
    """Functions of a demand and a snapshot; a mask has one entry a row."""

    name: str
    """The Kubernetes plugin that does the same."""
    fits: Callable[[Demand, Snapshot], Mask]
    """The nodes that can take the pod, as far as this filter is concerned."""
    reasons: Callable[[Demand, Snapshot], Reasons]
    """Why not: each reason with the nodes that it holds for, which may be more than ``fits`` excludes."""
    freed_by_pods: Callable[[Demand, Snapshot], Mask] = nowhere
    """Of the nodes that do not fit, those that would if pods went away."""
    refuses_all: Callable[[Demand, Snapshot], str] = nobody
    """Why the pod can be on no node at all, whatever the node ("" if that is not so): as Kubernetes' PreFilter says
    ``persistentvolumeclaim "data" not found``. Told instead of nodes' reasons; ``fits`` must be false everywhere."""
    applies: Callable[[Demand, Snapshot], bool] = always
    """False if the filter has nothing against such a pod on any node, whatever pods come or go: it is not asked."""
    scope: Scope = Scope.CLUSTER
    fits_rows: Callable[[Asked, Snapshot, Rows], Mask] | None = None
    """What ``fits`` says of some rows; for the scope ROWS."""
    follow: Callable[[Demand, Snapshot], FollowingFilter] | None = None
    """An answer that keeps up with the pods; for the scope CLUSTER, where asking anew takes long."""
