"""Pods that wait for the room which others were asked to leave: their node is theirs against the less important.

A nomination is a promise without a binding: it is remembered at once, written to ``status.nominatedNodeName`` and read
from there by the next scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kontinuum.scheduler.demand import Demand
from kontinuum.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Nomination:
    """A waiting pod and the node that it was promised."""

    uid: str
    key: str
    priority: int
    demand: Demand
    node: str


class Nominations:
    """See the module; at most one a pod."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Nomination] = {}

    def __bool__(self) -> bool:
        return bool(self._by_uid)

    def put(self, nomination: Nomination) -> None:
        self._by_uid[nomination.uid] = nomination

    def remove(self, uid: str) -> Nomination | None:
        return self._by_uid.pop(uid, None)

    def node_of(self, uid: str) -> str:
        """The node that the pod was promised, or ""."""
        nomination = self._by_uid.get(uid)
        return nomination.node if nomination else ""

    def on(self, node: str) -> list[Nomination]:
        return [one for one in self._by_uid.values() if one.node == node]

    def rivals(self, uid: str, priority: int) -> Sequence[Nomination]:
        """Whose promises a pod must respect: those of pods at least as important as it."""
        if not self._by_uid:
            return ()
        return [one for one in self._by_uid.values() if one.priority >= priority and one.uid != uid]


@contextmanager
def present(rivals: Iterable[Nomination], snapshot: Snapshot) -> Iterator[None]:
    """Within the block the snapshot counts ``rivals`` on their nodes, unless it counts them already."""
    added = [one for one in rivals if snapshot.pod_node(one.uid) is None]
    for one in added:
        snapshot.add_pod(one.uid, one.demand, one.node)
    try:
        yield
    finally:
        for one in added:
            snapshot.remove_pod(one.uid)
