"""Pods that have been given a node, though the API does not say so yet.

    decided ──assume──▶ assumed ──end────▶ the API shows it on a node, or gone
                          ├─────release──▶ its binding was refused, or never happened: its room is given back
                          └─────move─────▶ the API has it on another node than we meant

A decision counts at once: the snapshot holds the pod on its node before the API does, so that the next decision need
not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.scheduler.companion import Companion
from kontinuum.scheduler.demand import Demand, read_demand
from kontinuum.scheduler.knowledge import Knowledge
from kontinuum.scheduler.occupants import read_occupant
from kontinuum.scheduler.reading import labelled_as_on, promised_node

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Assumption:
    """A pod, and the node that it was given."""

    pod: Object
    demand: Demand
    node: str
    foreseen: Object
    """The pod as the API will show it, but for its node."""
    timer: asyncio.TimerHandle | None = None
    """Ends it; runs once the binding has been accepted."""


class Assumptions:
    """See the module."""

    def __init__(
        self,
        knowledge: Knowledge,
        companions: Sequence[Companion],
        *,
        seconds: float,
        expired: Callable[[Object], None],
    ) -> None:
        """``expired`` is told of a pod that the API has not shown on its node ``seconds`` after it was bound."""
        self._knowledge = knowledge
        self._companions = companions
        self._seconds = seconds
        self._expired = expired
        self._by_uid: dict[str, Assumption] = {}

    def __contains__(self, uid: object) -> bool:
        return uid in self._by_uid

    def pod(self, uid: str) -> Object | None:
        """The assumed pod, as it was decided."""
        assumption = self._by_uid.get(uid)
        return assumption.pod if assumption else None

    def assume(self, pod: Object, demand: Demand, node: str) -> None:
        """The pod counts as being on ``node`` from now on; where it was promised to go matters no more."""
        uid, known = uid_of(pod), self._knowledge
        # So that there is nothing to be changed when it is shown.
        foreseen = labelled_as_on(pod, known.snapshot.node_labels(node))
        known.nominations.remove(uid)
        known.snapshot.add_pod(uid, demand if foreseen is pod else read_demand(foreseen), node)
        known.occupants.put(read_occupant(pod), node)
        self._by_uid[uid] = Assumption(pod, demand, node, foreseen)
        for one in self._companions:
            one.reserve(pod, node)

    def await_sight(self, pod: Object) -> None:
        """The API has the pod on its node: the assumption ends soon, one way or the other."""
        if (assumption := self._by_uid.get(uid_of(pod))) is not None:
            loop = asyncio.get_running_loop()
            assumption.timer = loop.call_later(self._seconds, self._expire, pod)

    def move(self, pod: Object, node: str) -> None:
        """The API has the pod on a node, whichever we meant."""
        assumption = self._by_uid.get(uid_of(pod))
        if assumption is None or assumption.node == node:
            return
        self.release(uid_of(pod))
        self.assume(pod, assumption.demand, node)

    def end(self, uid: str) -> Assumption | None:
        """The API says where the pod is, or that it is gone. What was assumed; None if nothing was."""
        assumption = self._by_uid.pop(uid, None)
        if assumption is not None and assumption.timer is not None:
            assumption.timer.cancel()
        return assumption

    def end_all(self) -> None:
        """Nobody is to hear of any of them again."""
        for uid in list(self._by_uid):
            self.end(uid)

    def release(self, uid: str) -> None:
        """The pod is not where it was assumed to be: give its room back."""
        assumption = self.end(uid)
        if assumption is None:
            return
        known = self._knowledge
        known.snapshot.remove_pod(uid)
        known.occupants.remove(uid)
        for one in self._companions:
            one.release(assumption.pod, assumption.node)
        pod = known.now(assumption.pod)
        if pod is not None and known.is_ours(pod) and (node := promised_node(pod)):
            known.nominate(pod, assumption.demand, node)
        known.left(assumption.pod, assumption.node)

    def _expire(self, pod: Object) -> None:
        """The API has accepted a binding and then not shown it: has it lost it, or do we hear nothing?"""
        log.warning("a binding has not shown in the API", pod=key_of(pod))
        self._expired(pod)
