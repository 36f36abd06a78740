"""Who is on which node, as far as it matters to who might have to make way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.scheduler.reading import priority_of

NOT_STARTED = "9999"
"""Sorts after every time: a pod that has not started is the least loss."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A pod on a node, or assumed to be there."""

    uid: str
    key: str
    priority: int
    started: str
    """``status.startTime``, which sorts as text; NOT_STARTED if it has none."""
    makes_way: bool
    """It is on its way out because a scheduler wanted its room."""

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts the most important first: of high priority, then of long standing (``util.MoreImportantPod``)."""
        return -self.priority, self.started


def read_occupant(pod: Object) -> Occupant:
    started = (pod.get("status") or {}).get("startTime") or NOT_STARTED
    return Occupant(uid_of(pod), key_of(pod), priority_of(pod), started, makes_way(pod))


def makes_way(pod: Object) -> bool:
    """True if the pod terminates because it was preempted (``podTerminatingByPreemption``)."""
    if "deletionTimestamp" not in pod["metadata"]:
        return False
    condition = get_condition(pod, "DisruptionTarget") or {}
    return (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")


class Occupants:
    """The pods of each node."""

    def __init__(self) -> None:
        self._on: dict[str, dict[str, Occupant]] = {}
        self._node_of: dict[str, str] = {}

    def put(self, occupant: Occupant, node: str) -> None:
        """The pod is on ``node``, and nowhere else."""
        if self._node_of.get(occupant.uid, node) != node:
            self.remove(occupant.uid)
        self._on.setdefault(node, {})[occupant.uid] = occupant
        self._node_of[occupant.uid] = node

    def remove(self, uid: str) -> None:
        node = self._node_of.pop(uid, None)
        if node is None:
            return
        del self._on[node][uid]
        if not self._on[node]:
            del self._on[node]

    def on(self, node: str) -> Collection[Occupant]:
        return self._on.get(node, {}).values()

    def has_below(self, node: str, priority: int) -> bool:
        """True if some pod on ``node`` is less important than ``priority``."""
        return any(one.priority < priority for one in self.on(node))
