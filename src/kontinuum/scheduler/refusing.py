"""What follows when a pod gets no node: it is told why, it is promised room, and others are asked to make way for it.

A promise counts at once, before it is written down, and a victim is taken for one that leaves as soon as it has been
chosen: the next decision reckons with both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from kontinuum.api.machinery.objects import Object, key_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.foundation.errors import Retryable
from kontinuum.scheduler import groups
from kontinuum.scheduler.acts import Acts
from kontinuum.scheduler.assumptions import Assumptions
from kontinuum.scheduler.deciding import Decision
from kontinuum.scheduler.hints import Waiter
from kontinuum.scheduler.knowledge import Knowledge
from kontinuum.scheduler.nominations import Nomination
from kontinuum.scheduler.occupants import Occupant, read_occupant
from kontinuum.scheduler.preemption import Preemption
from kontinuum.scheduler.reading import node_of, priority_of, scheduler_of
from kontinuum.scheduler.telling import Teller

log = structlog.get_logger(__name__)


class Refuser:
    """See the module. ``start`` runs what takes time beside everything else."""

    def __init__(
        self,
        knowledge: Knowledge,
        assumptions: Assumptions,
        acts: Acts,
        teller: Teller,
        start: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._knowledge = knowledge
        self._assumptions = assumptions
        self._acts = acts
        self._teller = teller
        self._start = start

    def turn_down(self, decision: Decision) -> None:
        """The pod gets no node now: it waits, for its victims to leave or for better times, and is told why."""
        pod, refusal, known = decision.pod, decision.refusal, self._knowledge
        assert refusal is not None
        uid = uid_of(pod)
        waiter = Waiter(decision.demand, priority_of(pod), groups.group_key(pod))
        known.queue.refuse(key_of(pod), waiter, refusal.plugins)
        if decision.preemption is not None:
            known.nominate(pod, decision.demand, decision.preemption.node)
            self._start(self._preempt(pod, decision.preemption, self._make_way(pod, decision.preemption)))
        elif not decision.keeps_promise and (withdrawn := known.nominations.remove(uid)):
            # Whoever respected the promise may have the room.
            known.left(pod, withdrawn.node)
        self._teller.refused(pod, refusal.message)
        self._start(self._tell_why_not(pod, refusal.message, known.nominations.node_of(uid)))

    def _make_way(self, pod: Object, preemption: Preemption) -> list[Nomination]:
        """From now on the victims count as leaving; answers whose weaker promises on the node are void."""
        known = self._knowledge
        for victim in preemption.victims:
            known.victims.add(victim.uid)
            leaving = Occupant(victim.uid, victim.key, victim.priority, victim.started, makes_way=True)
            known.occupants.put(leaving, preemption.node)
        void = [one for one in known.nominations.on(preemption.node) if one.priority < priority_of(pod)]
        for one in void:
            known.nominations.remove(one.uid)
            known.queue.wake(one.key)
        return void

    async def _preempt(self, pod: Object, preemption: Preemption, void: Sequence[Nomination]) -> None:
        """Withdraw weaker promises and ask the victims to leave, all at once."""
        await asyncio.gather(
            *(self._withdraw(one) for one in void),
            *(self._evict(victim, pod, preemption) for victim in preemption.victims),
        )

    async def _withdraw(self, nomination: Nomination) -> None:
        pod = self._knowledge.pods.get(nomination.key)
        if pod is None or uid_of(pod) != nomination.uid:
            return
        try:
            await self._acts.promise(pod, self._knowledge.nominations.node_of(nomination.uid))
        except (ApiError, Retryable) as error:
            log.info("a promise was not withdrawn", pod=nomination.key, error=str(error))

    async def _evict(self, victim: Occupant, pod: Object, preemption: Preemption) -> None:
        known = self._knowledge
        found = known.pods.get(victim.key) or self._assumptions.pod(victim.uid)
        if found is None or uid_of(found) != victim.uid or "deletionTimestamp" in found["metadata"]:
            return
        try:
            await self._acts.evict(found, scheduler_of(pod))
        except (ApiError, Retryable) as error:
            # The pod that wanted its room is decided again, and may well choose the same victim.
            log.info("a victim was not asked to leave", victim=victim.key, pod=key_of(pod), error=str(error))
            known.victims.discard(victim.uid)
            if (now := known.now(found)) is not None and node_of(now):
                known.occupants.put(read_occupant(now), preemption.node)
            known.queue.wake(key_of(pod))
            return
        self._teller.preempted(found, preemption.node, by=pod)

    async def _tell_why_not(self, pod: Object, message: str, promised: str) -> None:
        try:
            await self._acts.tell_why_not(pod, message, promised)
        except (ApiError, Retryable) as error:
            # The API is away, or the pod changes all the time; the next attempt tells it again.
            log.info("the PodScheduled condition was not written", pod=key_of(pod), error=str(error))
