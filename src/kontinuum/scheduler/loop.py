"""The scheduler at work: hears of nodes and pods, decides one pod, one run of like pods or one pod group after another,
and binds many at once.

    hearing ──▶ snapshot, queue ──turn──▶ decide ──▶ a node: assume it, bind it; the API shows it
                                             ├─────▶ a preemption: promise the node, ask the victims to leave; wait
                                             └─────▶ a refusal: tell why; wait for an event that can help

A decision counts at once: the snapshot holds the pod on its node before the API does (``assumptions``), and a victim is
taken for one that leaves as soon as it has been chosen (``refusing``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator, Sequence
from itertools import islice
from typing import Any

import structlog

from kontinuum.api.kubernetes.resources import PODDISRUPTIONBUDGETS
from kontinuum.api.machinery.objects import Object, key_of, labels_of, uid_of
from kontinuum.client.election import leading
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.tasks import restarting
from kontinuum.scheduler import deciding, groups
from kontinuum.scheduler.acts import Acts
from kontinuum.scheduler.assumptions import Assumptions
from kontinuum.scheduler.binding import Binder
from kontinuum.scheduler.companion import Make
from kontinuum.scheduler.deciding import Decision, Situation
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.gangs import Gangs
from kontinuum.scheduler.groups import Group
from kontinuum.scheduler.hearing import Hearing
from kontinuum.scheduler.knowledge import Knowledge
from kontinuum.scheduler.place import Run
from kontinuum.scheduler.preemption import read_budget
from kontinuum.scheduler.profiles import read_profiles
from kontinuum.scheduler.reading import priority_of, scheduler_of
from kontinuum.scheduler.refusing import Refuser
from kontinuum.scheduler.relations import Relations
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.scheduler.storage.companion import Volumes
from kontinuum.scheduler.telling import Teller

log = structlog.get_logger(__name__)

LEASE = "kube-scheduler"
FIRST_OF_ALL = 2**31
"""Above every priority: the rest of a pod group that is half bound, before anybody takes its room."""

TURN = 64
"""So many pods are decided before anything new is heard: some milliseconds' work on thousands of nodes."""

COMPANIONS: Sequence[Make] = (Relations, Volumes)
"""What is started beside every scheduler."""


async def run(client: Client, clock: Clock, settings: SchedulerSettings) -> None:
    """Schedule pods until cancelled; with ``settings.elect``, only while holding the Lease."""

    async def work(client: Client) -> None:
        # A new Scheduler each time: what was known when we last led is out of date.
        await Scheduler(client, clock, settings).run()

    await leading(client, clock, settings, lease=LEASE, work=work)


class Scheduler:
    """Whose turn it is, and what is made of each decision; see the module."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        settings: SchedulerSettings,
        companions: Sequence[Make] = COMPANIONS,
        chance: random.Random | None = None,
        turn: int = TURN,
    ) -> None:
        profiles = read_profiles(settings)
        self._clock = clock
        self._turn = turn
        self._knowledge = known = Knowledge(client, clock, settings, profiles)
        self._companions = [make(client, clock, known.snapshot, known.tell) for make in companions]
        self._assumptions = Assumptions(
            known, self._companions, seconds=settings.assume_seconds,
            expired=lambda pod: self._start(self._binder.ask_until_settled(pod)),
        )  # fmt: skip
        self._gangs = Gangs(client, clock, known.members, known.tell)
        self._hearing = Hearing(client, clock, known, self._assumptions, self._gangs)
        self._budgets = Informer(client, PODDISRUPTIONBUDGETS, clock=clock)
        self._teller = Teller(client, clock, profiles)
        acts = Acts(client, clock, at_once=settings.bindings)
        self._binder = Binder(clock, known, self._assumptions, self._companions, acts, self._teller)
        self._refuser = Refuser(known, self._assumptions, acts, self._teller, self._start)
        chance = chance or random.Random()
        self._situation = Situation(
            known.snapshot,
            known.occupants,
            known.nominations,
            budgets=lambda: [read_budget(one) for one in self._budgets.items()],
            labels=lambda key: labels_of(known.pods.get(key) or {"metadata": {}}),
            offset=lambda count: chance.randrange(count) if count else 0,
        )
        self._run: Run | None = None
        """The run of the pod that was decided last."""
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._work()
        finally:
            self._assumptions.end_all()  # their timers would start work that nobody waits for

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for name, recorder in self._teller.recorders.items():
                self._start(restarting(f"scheduler events of {name}", recorder.run, clock=self._clock))
            companions = [one for each in self._companions for one in each.informers]
            informers = [self._hearing.nodes, self._knowledge.pods, self._budgets, *companions]
            for one in informers:
                self._start(restarting(f"scheduler {one.resource.plural}", one.run, clock=self._clock))
            self._start(restarting("scheduler pod groups", self._gangs.run, clock=self._clock))
            # Deciding on half a cluster would pile pods onto the nodes that happened to be heard of first.
            for one in informers:
                await one.wait_synced()
            await self._gangs.wait_known()
            self._complete_half_bound_groups()
            log.info("the scheduler is working", nodes=self._knowledge.snapshot.node_count)
            while True:
                await self._knowledge.queue.wait_active()
                self._take_turn()
                await asyncio.sleep(0)  # a thousand waiting pods must not keep the informers from their events

    # Whose turn it is

    def _take_turn(self) -> None:
        """Decide those whose turn it is, in their order.

        It ends early when one is not placed: to say why takes long, and what is heard then may make a difference.
        """
        for pod in islice(self._due(), self._turn):
            if not self._decide(pod):
                return

    def _due(self) -> Iterator[Object]:
        """The pods whose turn it is, each taken from the queue when it is asked for."""
        known = self._knowledge
        while (key := known.queue.pop()) is not None:
            pod = known.pods.get(key)
            if pod is not None and known.is_ours(pod):
                yield pod
            else:
                known.queue.remove(key)

    def _is_of_group(self, pod: Object) -> bool:
        return self._knowledge.profile(pod).gangs and self._gangs.is_member(pod)

    def _complete_half_bound_groups(self) -> None:
        """Our predecessor may have been killed in the middle of a group: nobody else comes before the rest of it."""
        for group in self._gangs.half_bound():
            for pod in self._knowledge.members(group):
                if self._knowledge.is_ours(pod):
                    self._knowledge.queue.add(key_of(pod), FIRST_OF_ALL)

    # What is decided

    def _decide(self, pod: Object) -> bool:
        """Decide one pod, or all that wait of its group. True if everybody was placed."""
        taken = [pod]
        try:
            if self._is_of_group(pod):
                taken = self._waiting_members(pod)
                self._knowledge.queue.take(key_of(one) for one in taken if key_of(one) != key_of(pod))
                group = self._gangs.group_of(pod)
                decisions = self._decide_together(pod, taken, group)
                self._carry_out_together(decisions, group)
                return all(one.node for one in decisions)
            decision = self._decide_like_the_last(pod) or self._decide_alone(pod)
            self._carry_out(decision)
            return bool(decision.node)
        except Exception:
            # A defect met by one pod must not stop the scheduling of all others.
            log.exception("a pod could not be decided and will be tried again", pod=key_of(pod))
            for one in taken:
                self._knowledge.queue.fail(key_of(one))
            return False

    def _decide_like_the_last(self, pod: Object) -> Decision | None:
        """A node for a pod in the run of those before it, or as the first of another; None: it must be decided alone.

        While nodes are promised, pods that are equal are not equally entitled; and what the volumes of one need changes
        with each that is reserved.
        """
        known = self._knowledge
        if known.nominations or pod["spec"].get("volumes") or uid_of(pod) in self._assumptions:
            return None
        demand = read_demand(pod)
        if self._run is None or self._run.demand is not demand:
            self._run = Run(demand, known.snapshot, known.profile(pod).plugins)
        placement = self._run.place()
        return Decision(pod, demand, node=placement.node) if placement is not None else None

    def _decide_alone(self, pod: Object) -> Decision:
        # It may be assumed still, if the answer to its last binding was lost: this replaces that.
        self._assumptions.release(uid_of(pod))
        return deciding.decide(pod, self._situation, self._knowledge.profile(pod))

    def _waiting_members(self, pod: Object) -> list[Object]:
        """The pods of the group that are to be decided, the most important first; never those that are being bound."""
        waiting = [
            one
            for one in self._knowledge.members(groups.group_key(pod))
            if self._knowledge.is_ours(one)
            and uid_of(one) not in self._assumptions
            and scheduler_of(one) == scheduler_of(pod)
        ]
        return sorted(waiting, key=lambda one: (-priority_of(one), key_of(one)))

    def _decide_together(self, pod: Object, waiting: list[Object], group: Group | None) -> list[Decision]:
        nodes = self._knowledge.snapshot.node_count
        if group is None:
            return [deciding.refused_whole(one, groups.NOT_FOUND, nodes) for one in waiting]
        placed = self._binder.placed(group)
        if placed + len(waiting) < group.minimum:
            # Each is told of itself, whoever's turn it was: else the last to be taken would rename the others' reason.
            found = placed + len(waiting)
            return [deciding.refused_whole(one, groups.too_few(one, group, found), nodes) for one in waiting]
        return deciding.decide_together(group, waiting, self._situation, self._knowledge.profile(pod), placed=placed)

    # What follows

    def _carry_out(self, decision: Decision) -> None:
        if decision.node:
            self._assumptions.assume(decision.pod, decision.demand, decision.node)
            self._start(self._binder.bind(decision.pod, decision.node))
        else:
            self._refuser.turn_down(decision)

    def _carry_out_together(self, decisions: Sequence[Decision], group: Group | None) -> None:
        placed = [one for one in decisions if one.node]
        for one in placed:
            self._assumptions.assume(one.pod, one.demand, one.node)
        for one in decisions:
            if not one.node:
                self._refuser.turn_down(one)
        if placed and group is not None:
            self._start(self._binder.bind_together(placed, group))

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        self._tasks.create_task(work)
