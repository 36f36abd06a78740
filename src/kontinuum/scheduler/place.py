"""``place``: which node a pod goes to, or why to none. Pure: the same pod and snapshot give the same answer.

    every node ──filters──▶ those that fit ──scores──▶ the best (of equals, the one in the first row)
                     └─ none: a Refusal, in the words that people know from ``kubectl describe``

Room for preemption: it begins where a Refusal says that pods which leave would help.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.filters import FILTERS
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.scores import SCORES
from kontinuum.scheduler.snapshot import Column, Snapshot

HELPLESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Placement:
    """The pod fits; ``node`` is the best."""

    node: str
    points: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The pod fits nowhere."""

    nodes: int
    """How many nodes there are."""
    reasons: dict[str, int]
    """Kubernetes' words, each with the number of nodes that it holds for."""
    freed_by_pods: int
    """On how many of them the pod would fit if other pods went away."""
    preempts: bool
    plugins: frozenset[str] = field(default=frozenset(), compare=False)
    """Whose filters refused: only what can help one of them is a reason to try again."""
    whole: str = ""
    """Why no node will do, whatever the node; the reasons are empty then."""

    @property
    def message(self) -> str:
        """As the FailedScheduling event and the PodScheduled condition of Kubernetes 1.36 say it."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        if not self.preempts:
            return f"{self._available(self.reasons)} preemption: not eligible due to preemptionPolicy=Never."
        helpless = self.nodes - self.freed_by_pods
        outlook = {NO_VICTIMS: self.freed_by_pods, HELPLESS: helpless}
        return f"{self._available(self.reasons)} preemption: {self._available(outlook)}"

    def _available(self, reasons: dict[str, int]) -> str:
        if self.whole and reasons is self.reasons:
            return f"0/{self.nodes} nodes are available: {self.whole}."
        counted = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
        return f"0/{self.nodes} nodes are available: {', '.join(counted)}."


def place(demand: Demand, snapshot: Snapshot) -> Placement | Refusal:
    """The node for a pod with this demand (``demand.read_demand(pod)``)."""
    feasible = snapshot.alive.copy()
    for one in FILTERS:
        feasible &= one.fits(demand, snapshot)
        if not feasible.any():
            return explain(demand, snapshot)
    points = score(demand, snapshot, feasible)
    row = int(np.where(feasible, points, -1).argmax())
    return Placement(snapshot.names[row], int(points[row]))


def score(demand: Demand, snapshot: Snapshot, feasible: Mask) -> Column:
    """The weighed points of every row; only those of ``feasible`` mean anything."""
    points = np.zeros(len(snapshot.alive), np.int64)
    for one in SCORES:
        points += one.weight * one.points(demand, snapshot, feasible)
    return points


def explain(demand: Demand, snapshot: Snapshot) -> Refusal:
    """Why no node fits: for each node, what the first filter says that refuses it."""
    for one in FILTERS:
        if whole := one.refuses_all(demand, snapshot):
            return Refusal(snapshot.node_count, {}, 0, demand.preempts, frozenset({one.name}), whole)
    left = snapshot.alive.copy()
    plugins: set[str] = set()
    reasons: Counter[str] = Counter()
    freed_by_pods = 0
    for one in FILTERS:
        refused = left & ~one.fits(demand, snapshot)
        if refused.any():
            plugins.add(one.name)
            for reason, holds in one.reasons(demand, snapshot):
                reasons[reason] += int((refused & holds).sum())
            freed_by_pods += int((refused & one.freed_by_pods(demand, snapshot)).sum())
            left &= ~refused
    return Refusal(snapshot.node_count, dict(+reasons), freed_by_pods, demand.preempts, frozenset(plugins))
