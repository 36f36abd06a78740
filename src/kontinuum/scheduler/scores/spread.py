"""Soft topology spread constraints: more points where fewer of the pods are; the cluster's defaults too.

Kubernetes' rule (plugin PodTopologySpread): pods in a node's domain count by the logarithm of the number of domains, so
that large topologies are not watered down by small ones; ``maxSkew`` makes small differences matter less. The node with
the fewest has 100 points.
"""

from __future__ import annotations

from math import log

import numpy as np

from kontinuum.scheduler.census import Tally
from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.domains import Domains
from kontinuum.scheduler.filters.spread import having_all_keys, included
from kontinuum.scheduler.labels import ABSENT, Mask
from kontinuum.scheduler.scope import Points, Scope
from kontinuum.scheduler.scores.port import Score
from kontinuum.scheduler.snapshot import Column, Snapshot
from kontinuum.scheduler.terms import HOSTNAME, Spread, default_spreads

PATTERNS = 32
"""Sets of nodes for which the weights of the constraints are remembered."""


def soft_spreads(demand: Demand, snapshot: Snapshot) -> tuple[Spread, ...]:
    """The pod's own soft constraints, or the defaults if it has no constraints at all."""
    if demand.spreads:
        return tuple(one for one in demand.spreads if not one.hard)
    selector = snapshot.selecting.pods_like(demand)
    return default_spreads(demand.namespace, demand.labels, selector) if selector else ()


class _OfDomains:
    """One constraint by a key that nodes share."""

    def __init__(self, spread: Spread, snapshot: Snapshot, tally: Tally, counted: Mask) -> None:
        self._more = spread.maximum_skew - 1
        self._domains = Domains(snapshot, spread.key, counted=counted)
        self._domains.count(tally)

    def update(self, rows: list[int]) -> None:
        self._domains.update(rows)

    def domain_count(self, scored: Mask) -> int:
        """How many domains these nodes are in; those without the label are in one together."""
        there = np.zeros(len(self._domains.pods), np.bool_)
        there[self._domains.number[scored]] = True
        return int(there.sum())

    def add(self, weight: float, total: Points) -> None:
        """Add how crowded each node is by this constraint."""
        of_domains = self._domains.pods * np.float64(weight)
        of_domains += self._more
        of_domains[ABSENT] = 0.0
        total += self._domains.at_nodes(of_domains)


class _OfHosts:
    """The constraint by host name: each node is a domain, whatever it is called, and none is left out of the count."""

    def __init__(self, spread: Spread, snapshot: Snapshot, tally: Tally) -> None:
        self._named = snapshot.labels.has(spread.key)
        self._more: Points = np.float64(spread.maximum_skew - 1) * self._named
        self._tally = tally
        self._pods: Points = np.zeros(len(snapshot.alive))
        self._crowded: Points = np.zeros(len(snapshot.alive))
        self.update(list(tally.rows))

    def update(self, rows: list[int]) -> None:
        for row in rows:
            self._pods[row] = self._tally.rows.get(row, 0) if self._named[row] else 0

    def domain_count(self, scored: Mask) -> int:
        return int(np.count_nonzero(scored))

    def add(self, weight: float, total: Points) -> None:
        np.multiply(self._pods, weight, out=self._crowded)
        self._crowded += self._more
        total += self._crowded


class Following:
    """All soft constraints of a demand."""

    def __init__(self, demand: Demand, snapshot: Snapshot) -> None:
        soft = soft_spreads(demand, snapshot)
        # Defaults are for clusters that label their nodes and for those that do not.
        self._scored = having_all_keys(soft, snapshot) if demand.spreads else snapshot.alive
        self._constraints = [self._constraint(one, demand, snapshot) for one in soft]
        self._feasible = np.zeros_like(snapshot.alive)
        self._weights: list[float] = []
        self._weights_of: dict[bytes, list[float]] = {}
        self._crowded: Points = np.zeros(len(snapshot.alive))

    def _constraint(self, spread: Spread, demand: Demand, snapshot: Snapshot) -> _OfDomains | _OfHosts:
        tally = snapshot.census.tally((spread.pods,))
        if spread.key == HOSTNAME:
            return _OfHosts(spread, snapshot, tally)
        return _OfDomains(spread, snapshot, tally, self._scored & included(spread, demand, snapshot))

    def update(self, rows: list[int]) -> None:
        for one in self._constraints:
            one.update(rows)

    def points(self, feasible: Mask) -> Points:
        if feasible is not self._feasible:
            self._weigh(feasible)
        crowded = self._crowded
        crowded.fill(0.0)
        for one, weight in zip(self._constraints, self._weights, strict=True):
            one.add(weight, crowded)
        np.rint(crowded, out=crowded)  # no halves can come, so that it does not matter where they go
        crowded *= self._valid
        most = float(crowded[crowded.argmax()])
        if not most:
            return 100.0 * self._valid
        emptiest = most - crowded
        emptiest *= self._valid
        fewest = most - float(emptiest[emptiest.argmax()])
        points = most + fewest - crowded
        points *= 100.0
        points /= most
        np.floor(points, out=points)
        points *= self._valid
        return points

    def _weigh(self, feasible: Mask) -> None:
        self._feasible = feasible
        scored = feasible & self._scored
        self._valid = scored.astype(np.float64)
        pattern = np.packbits(scored).tobytes()  # with hard spreading, the same nodes fit again and again
        if pattern not in self._weights_of:
            if len(self._weights_of) >= PATTERNS:
                self._weights_of.clear()
            self._weights_of[pattern] = [log(one.domain_count(scored) + 2) for one in self._constraints]
        self._weights = self._weights_of[pattern]


def applies(demand: Demand, snapshot: Snapshot) -> bool:
    return bool(soft_spreads(demand, snapshot))


def points(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    if not applies(demand, snapshot):
        return np.zeros(len(feasible), np.int64)
    return Following(demand, snapshot).points(feasible).astype(np.int64)


SCORE = Score("PodTopologySpread", 2, points, applies=applies, scope=Scope.CLUSTER, follow=Following)
