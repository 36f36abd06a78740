"""``place``: which node a pod goes to, or why to none. Pure: the same pod and snapshot give the same answer.

    every node ──filters──▶ those that fit ──scores──▶ the best (of equals, the one in the first row)
                     └─ none: a Refusal, in the words that people know from ``kubectl describe``

Room for preemption: it begins where a Refusal says that pods which leave would help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.evaluation import DEFAULT, Plugins, evaluation
from kontinuum.scheduler.snapshot import Snapshot

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


def place(demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> Placement | Refusal:
    """The node for a pod with this demand (``demand.read_demand(pod)``)."""
    best = evaluation(demand, snapshot, plugins).best()
    if best is None:
        return explain(demand, snapshot, plugins)
    row, points = best
    return Placement(snapshot.names[row], points)


def place_batch(
    demand: Demand, uids: Sequence[str], snapshot: Snapshot, plugins: Plugins = DEFAULT
) -> list[Placement | Refusal]:
    """The same for several pods with this demand, each counted on its node before the next is looked at.

    The snapshot holds those that were placed under their ``uids``; one that is refused leaves it as it was, so that all
    after it are refused too.
    """
    decisions: list[Placement | Refusal] = []
    for uid in uids:
        decision = place(demand, snapshot, plugins)
        if isinstance(decision, Refusal):
            return decisions + [decision] * (len(uids) - len(decisions))
        snapshot.add_pod(uid, demand, decision.node)
        decisions.append(decision)
    return decisions


def explain(demand: Demand, snapshot: Snapshot, plugins: Plugins = DEFAULT) -> Refusal:
    """Why no node fits: for each node, what the first filter says that refuses it."""
    for one in plugins.filters:
        if whole := one.refuses_all(demand, snapshot):
            return Refusal(snapshot.node_count, {}, 0, demand.preempts, frozenset({one.name}), whole)
    left = snapshot.alive.copy()
    refusing: set[str] = set()
    reasons: Counter[str] = Counter()
    freed_by_pods = 0
    for one in plugins.filters:
        refused = left & ~one.fits(demand, snapshot)
        if refused.any():
            refusing.add(one.name)
            for reason, holds in one.reasons(demand, snapshot):
                reasons[reason] += int((refused & holds).sum())
            freed_by_pods += int((refused & one.freed_by_pods(demand, snapshot)).sum())
            left &= ~refused
    return Refusal(snapshot.node_count, dict(+reasons), freed_by_pods, demand.preempts, frozenset(refusing))
