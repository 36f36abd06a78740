"""More points for nodes that have the pod's images already: by size, and by how many nodes have them.

Kubernetes' rule (plugin ImageLocality): an image counts by its size times the share of all nodes that have it, so that
an image on one node only does not draw all its pods there. Less than 23 MiB is nothing, 1000 MiB an image is 100.
"""

from __future__ import annotations

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Points, Scope
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot

LEAST, MOST = 23 << 20, 1000 << 20
"""Bytes, for all images together and for each of them."""


class Following:
    """The images of one demand."""

    def __init__(self, demand: Demand, snapshot: Snapshot) -> None:
        self._demand = demand
        self._snapshot = snapshot
        self._version = -1
        self._points: Points | None = None

    def update(self, rows: list[int]) -> None:
        """Pods change no images."""

    def points(self, feasible: Mask) -> Points | None:
        if self._version != self._snapshot.images_version:
            self._version = self._snapshot.images_version
            found = points(self._demand, self._snapshot, feasible)
            self._points = found.astype(np.float64) if found.any() else None
        return self._points


def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    total = np.zeros(len(snapshot.alive), np.int64)
    for image in demand.images:
        if sizes := snapshot.images.get(image):
            share = len(sizes) / snapshot.node_count
            total[list(sizes)] += (np.fromiter(sizes.values(), np.float64, len(sizes)) * share).astype(np.int64)
    most = max(MOST * len(demand.images), LEAST + 1)
    return 100 * (np.clip(total, LEAST, most) - LEAST) // (most - LEAST)


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(demand.images)


SCORE = Score("ImageLocality", 1, points, applies=applies, scope=Scope.CLUSTER, follow=Following)
