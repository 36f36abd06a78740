"""``place``: which node a pod goes to, or why to none. Pure: the same pod and snapshot give the same answer.

    every node ──filters──▶ those that fit ──scores──▶ the best (of equals, the one in the first row)
                     └─ none: a Refusal, in the words that people know from ``kubectl describe``

A Refusal says on which nodes the pod would fit if others left: there ``preemption`` begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.evaluation import DEFAULT, Plugins, evaluation
from kontinuum.scheduler.labels import Mask
from kontinuum.scheduler.nominations import Nomination, present
from kontinuum.scheduler.snapshot import Column, Snapshot

HELPLESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "preemption: not eligible due to preemptionPolicy=Never."


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
    helpable: tuple[int, ...] = field(default=(), compare=False)
    """The rows of the nodes of ``freed_by_pods``."""
    outlook: str | None = field(default=None, compare=False)
    """What preemption says of it; None if it was not asked."""

    @property
    def message(self) -> str:
        """As the FailedScheduling event and the PodScheduled condition of Kubernetes 1.36 say it."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        why = f"0/{self.nodes} nodes are available: {self.whole}." if self.whole else counted(self.nodes, self.reasons)
        outlook = self._default_outlook if self.outlook is None else self.outlook
        return f"{why} {outlook}".rstrip()

    @property
    def _default_outlook(self) -> str:
        if not self.preempts:
            return NEVER
        reasons = {NO_VICTIMS: self.freed_by_pods, HELPLESS: self.nodes - self.freed_by_pods}
        return f"preemption: {counted(self.nodes, reasons)}"


def counted(nodes: int, reasons: Mapping[str, int]) -> str:
    """``0/5 nodes are available: 2 Insufficient cpu, 3 node(s) were unschedulable.``, sorted as text."""
    texts = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"0/{nodes} nodes are available: {', '.join(texts)}."


def place(
    demand: Demand,
    snapshot: Snapshot,
    plugins: Plugins = DEFAULT,
    *,
    rivals: Sequence[Nomination] = (),
    promised: str = "",
) -> Placement | Refusal:
    """The node for a pod with this demand (``demand.read_demand(pod)``).

    ``rivals`` are pods whose promised room is not to be had; the ``promised`` node, if any, is taken whenever it fits.
    """
    if rivals or promised:
        return _place_among(demand, snapshot, plugins, rivals=rivals, promised=promised)
    return Run(demand, snapshot, plugins).place() or explain(demand, snapshot, plugins)


def _place_among(
    demand: Demand, snapshot: Snapshot, plugins: Plugins, *, rivals: Sequence[Nomination], promised: str
) -> Placement | Refusal:
    feasible = evaluation(demand, snapshot, plugins).feasible().copy()
    if rivals and feasible.any():
        # A node must do with those who may come and without them: a pod may need, by affinity, that they do not.
        with present(rivals, snapshot):
            crowded = evaluation(demand, snapshot, plugins).feasible()
            awaited = [snapshot.row_of[one.node] for one in rivals if one.node in snapshot.row_of]
            feasible[awaited] &= crowded[awaited]
    if not feasible.any():
        with present(rivals, snapshot):
            return explain(demand, snapshot, plugins)
    row = snapshot.row_of.get(promised, -1)
    if row >= 0 and feasible[row]:
        return Placement(promised, 0)
    points = score(demand, snapshot, feasible, plugins)
    row = int(np.where(feasible, points, -1).argmax())
    return Placement(snapshot.names[row], int(points[row]))


class Run:
    """Like pods, placed one after another in one pass: what is known of their demand is kept from one to the next."""

    def __init__(self, demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> None:
        self.demand = demand
        self._snapshot = snapshot
        self._evaluation = evaluation(demand, snapshot, plugins)

    def place(self) -> Placement | None:
        """What ``place`` says of the next of them; None where it refuses.

        The snapshot is to count each on its node before the next is placed.
        """
        best = self._evaluation.best()
        if best is None:
            return None
        row, points = best
        return Placement(self._snapshot.names[row], points)


def score(demand: Demand, snapshot: Snapshot, feasible: Mask, plugins: Plugins = DEFAULT) -> Column:
    """The weighed points of every row; only those of ``feasible`` mean anything."""
    points = np.zeros(len(snapshot.alive), np.int64)
    for one in plugins.scores:
        if one.applies(demand, snapshot):
            points += one.weight * one.points(demand, snapshot, feasible)
    return points


def explain(demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> Refusal:
    """Why no node fits: for each node, what the first filter says that refuses it."""
    for one in plugins.filters:
        if whole := one.refuses_all(demand, snapshot):
            return Refusal(snapshot.node_count, {}, 0, demand.preempts, frozenset({one.name}), whole)
    left = snapshot.alive.copy()
    helpable = np.zeros_like(snapshot.alive)
    refusing: set[str] = set()
    reasons: Counter[str] = Counter()
    for one in plugins.filters:
        refused = left & ~one.fits(demand, snapshot)
        if refused.any():
            refusing.add(one.name)
            for reason, holds in one.reasons(demand, snapshot):
                reasons[reason] += int((refused & holds).sum())
            helpable |= refused & one.freed_by_pods(demand, snapshot)
            left &= ~refused
    rows = tuple(np.flatnonzero(helpable).tolist())
    return Refusal(
        snapshot.node_count, dict(+reasons), len(rows), demand.preempts, frozenset(refusing), helpable=rows
    )  # fmt: skip
