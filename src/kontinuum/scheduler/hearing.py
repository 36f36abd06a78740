"""What the scheduler hears of nodes and pods, and what it makes of it.

A pod that is on a node takes room there; one that waits for us is in the queue; one that is neither, or gone, is of no
concern. What we have decided ourselves (and so know already) is not told again when the API shows it.
"""

from __future__ import annotations

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object, key_of, name_of, uid_of
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.scheduler import groups
from kontinuum.scheduler.assumptions import Assumptions
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.events import ASSIGNED_POD, NODE, WAITING_POD, Event
from kontinuum.scheduler.gangs import Gangs
from kontinuum.scheduler.knowledge import Knowledge
from kontinuum.scheduler.occupants import Occupant, read_occupant
from kontinuum.scheduler.reading import (
    is_finished,
    is_only_bound,
    node_of,
    priority_of,
    promised_node,
    trim_node,
    what_counts,
)


class Hearing:
    """See the module. ``nodes`` is to be run; the informer of pods is the knowledge's own."""

    def __init__(
        self, client: Client, clock: Clock, knowledge: Knowledge, assumptions: Assumptions, gangs: Gangs
    ) -> None:
        self._knowledge = knowledge
        self._assumptions = assumptions
        self._gangs = gangs
        self.nodes = Informer(client, NODES, clock=clock, trim=trim_node)
        self.nodes.add_handler(self._node_changed)
        knowledge.pods.add_handler(self._pod_changed)

    def _node_changed(self, change: Change, node: Object, old: Object | None) -> None:
        known = self._knowledge
        if change == "deleted":
            known.snapshot.remove_node(name_of(node))
            known.tell(Event(NODE, change, node))
            for nomination in known.nominations.on(name_of(node)):
                known.queue.wake(nomination.key)
        elif known.snapshot.set_node(node):
            known.tell(Event(NODE, change, node, old))

    def _pod_changed(self, change: Change, pod: Object, old: Object | None) -> None:
        self._gangs.pod_changed(pod)
        if change == "deleted" or is_finished(pod):
            self._gone(pod)
        elif node_of(pod):
            self._on_a_node(pod, old)
        elif not self._knowledge.is_ours(pod):
            self._not_ours(pod)
        else:
            self._waits(pod, old)

    def _gone(self, pod: Object) -> None:
        known, uid = self._knowledge, uid_of(pod)
        known.queue.remove(key_of(pod))
        known.victims.discard(uid)
        self._assumptions.end(uid)
        promised = known.nominations.remove(uid)
        node = known.snapshot.pod_node(uid) or (promised.node if promised else "")
        known.snapshot.remove_pod(uid)
        known.occupants.remove(uid)
        if node:
            known.left(pod, node)

    def _on_a_node(self, pod: Object, old: Object | None) -> None:
        known, uid = self._knowledge, uid_of(pod)
        known.queue.remove(key_of(pod))
        known.nominations.remove(uid)
        assumption = self._assumptions.end(uid)
        known.occupants.put(self._occupant(pod), node_of(pod))
        is_foreseen = (
            assumption is not None and assumption.node == node_of(pod) and is_only_bound(pod, assumption.foreseen)
        )  # fmt: skip
        if old is None or is_foreseen or what_counts(old) != what_counts(pod):
            if not is_foreseen:
                known.snapshot.add_pod(uid, read_demand(pod), node_of(pod))
            known.tell(Event(ASSIGNED_POD, "updated" if old and node_of(old) else "added", pod, old))

    def _occupant(self, pod: Object) -> Occupant:
        occupant = read_occupant(pod)
        if uid_of(pod) not in self._knowledge.victims or occupant.makes_way:
            return occupant
        return Occupant(occupant.uid, occupant.key, occupant.priority, occupant.started, makes_way=True)

    def _not_ours(self, pod: Object) -> None:
        self._knowledge.queue.remove(key_of(pod))
        if promised := self._knowledge.nominations.remove(uid_of(pod)):
            self._knowledge.left(pod, promised.node)

    def _waits(self, pod: Object, old: Object | None) -> None:
        self._note_promise(pod, old)
        if old is None or what_counts(old) != what_counts(pod):
            self._knowledge.queue.add(key_of(pod), priority_of(pod))
            if old is None and groups.group_key(pod):
                self._knowledge.tell(Event(WAITING_POD, "added", pod))

    def _note_promise(self, pod: Object, old: Object | None) -> None:
        """Take over what the pod says of its promised node; what we have promised but not yet written stays."""
        nominations = self._knowledge.nominations
        if node := promised_node(pod):
            if nominations.node_of(uid_of(pod)) != node:
                self._knowledge.nominate(pod, read_demand(pod), node)
        elif old is not None and promised_node(old):
            nominations.remove(uid_of(pod))
