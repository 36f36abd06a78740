"""Preferred affinity and anti-affinity between pods, of this one and of those that run; the best node has 100.

Kubernetes' rule (plugin InterPodAffinity): each pod that matches a preferred term of this pod, and each whose preferred
term this pod matches, gives the term's weight (anti-affinity takes it) to all nodes of its domain; a required affinity
term that this pod matches counts as if preferred with a small weight. The sums are stretched over 0 to 100.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters.pod_affinity import ByKey
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scope import Points, Scope
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot
from kontinuum.scheduler.terms import PodTerm, Role


class Following:
    """All that draws one demand to nodes or away from them."""

    def __init__(self, hard_weight: int, demand: Demand, snapshot: Snapshot) -> None:
        self._hard_weight = hard_weight
        self._demand = demand
        self._census = snapshot.census
        self._domains = ByKey(snapshot)
        for term in demand.terms:
            if term.role is Role.PREFERRED:
                self._domains[term.key].count(snapshot.census.tally((term.pods,)), term.weight)
        self._met = 0
        self._meet_new_terms()

    def update(self, rows: list[int]) -> None:
        self._domains.update(rows)
        self._meet_new_terms()

    def points(self, feasible: Mask) -> Points | None:
        of_keys = [one.at_nodes(one.pods.astype(np.float64)) for one in self._domains if one.pods.any()]
        if not of_keys:
            return None
        total = of_keys[0]
        for more in of_keys[1:]:
            total += more
        among = total[feasible]
        least, most = float(among.min()), float(among.max())
        if least == most:
            return None
        return np.trunc(100.0 * ((total - least) / (most - least)))

    def _meet_new_terms(self) -> None:
        """Terms of pods that nobody held before."""
        terms = self._census.terms
        for held in terms[self._met :]:
            weight = self._weight(held.term)
            if weight and self._census.concerns(held.term, self._demand.namespace, self._demand.labels):
                self._domains[held.term.key].count(held.tally, weight)
        self._met = len(terms)

    def _weight(self, term: PodTerm) -> int:
        return self._hard_weight if term.role is Role.REQUIRED else term.weight


def pod_affinity(*, hard_weight: int = 1) -> Score:
    """``hard_weight``: what a required affinity term of a running pod counts (Kubernetes' hardPodAffinityWeight)."""
    follow = partial(Following, hard_weight)

    def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
        found = follow(demand, snapshot).points(feasible)
        return np.zeros(len(feasible), np.int64) if found is None else found.astype(np.int64)

    return Score("InterPodAffinity", 2, points, scope=Scope.CLUSTER, follow=follow)


SCORE = pod_affinity()
