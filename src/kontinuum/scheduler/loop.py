"""The scheduler at work: hears of nodes and pods, decides one pod or pod group at a time, and binds many at once.

    informers ──▶ snapshot, queue ──pop──▶ decide ──▶ a node: assume it, bind it; the informer shows it
                                              ├────▶ a preemption: promise the node, ask the victims to leave; wait
                                              └────▶ a refusal: tell why; wait for an event that can help

A decision counts at once: the snapshot holds the pod on its node before the API does (the pod is *assumed*), so that
the next decision need not wait. The assumption ends when the API shows the pod on a node, when the binding is refused,
or when the API has kept silent about it for too long. Likewise a promise counts at once, and a victim is taken for one
that leaves as soon as it has been chosen.

A pod group's plan is written down (as promises) before the first of it is bound: whoever takes over in the middle of it
finds the same places. Its bindings are repeated for as long as the group's time lasts, because half a group is no use.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from kontinuum.api.kubernetes.resources import NODES, PODDISRUPTIONBUDGETS, PODS
from kontinuum.api.machinery.objects import Object, key_of, labels_of, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.election import leading
from kontinuum.client.events import EventRecorder
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import restarting
from kontinuum.scheduler import deciding, groups
from kontinuum.scheduler.acts import Acts
from kontinuum.scheduler.companion import BindingRefused, Make
from kontinuum.scheduler.deciding import Decision, Situation
from kontinuum.scheduler.demand import Demand, read_demand
from kontinuum.scheduler.events import ASSIGNED_POD, NODE, WAITING_POD, Event
from kontinuum.scheduler.gangs import Gangs
from kontinuum.scheduler.groups import Group
from kontinuum.scheduler.hints import Cluster, Waiter
from kontinuum.scheduler.nominations import Nomination, Nominations
from kontinuum.scheduler.occupants import Occupant, Occupants, read_occupant
from kontinuum.scheduler.preemption import Preemption, read_budget
from kontinuum.scheduler.profiles import Profile, read_profiles
from kontinuum.scheduler.queue import SchedulingQueue
from kontinuum.scheduler.reading import (
    is_finished,
    is_only_bound,
    is_waiting,
    node_of,
    priority_of,
    promised_node,
    scheduler_of,
    trim_node,
    trim_pod,
    what_counts,
)
from kontinuum.scheduler.relations import Relations
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage.companion import Volumes

log = structlog.get_logger(__name__)

LEASE = "kube-scheduler"
FIRST_OF_ALL = 2**31
"""Above every priority: the rest of a pod group that is half bound, before anybody takes its room."""

UNKNOWN = Backoff(initial=1.0, maximum=8.0)
"""Between two questions about a binding whose outcome is unknown, and between a group's attempts to be bound."""

COMPANIONS: Sequence[Make] = (Relations, Volumes)
"""What is started beside every scheduler."""


async def run(client: Client, clock: Clock, settings: SchedulerSettings) -> None:
    """Schedule pods until cancelled; with ``settings.elect``, only while holding the Lease."""

    async def work(client: Client) -> None:
        # A new Scheduler each time: what was known when we last led is out of date.
        await Scheduler(client, clock, settings).run()

    await leading(client, clock, settings, lease=LEASE, work=work)


@dataclass(slots=True)
class _Assumption:
    """A pod that has been given a node, though the API does not say so yet."""

    pod: Object
    demand: Demand
    node: str
    timer: asyncio.TimerHandle | None = None
    """Ends it; runs once the binding has been accepted."""


class Scheduler:
    """One scheduler's knowledge and work; see the module."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        settings: SchedulerSettings,
        companions: Sequence[Make] = COMPANIONS,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._profiles = read_profiles(settings)
        self._snapshot = Snapshot()
        self._occupants = Occupants()
        self._nominations = Nominations()
        self._cluster = Cluster(self._snapshot, self._occupants)
        self._queue = SchedulingQueue(
            clock,
            Backoff(initial=settings.backoff_initial_seconds, maximum=settings.backoff_maximum_seconds),
            look_again=settings.look_again_seconds,
        )
        self._nodes = Informer(client, NODES, clock=clock, trim=trim_node)
        self._pods = Informer(client, PODS, clock=clock, trim=trim_pod, indexes={"group": _groups_of})
        self._budgets = Informer(client, PODDISRUPTIONBUDGETS, clock=clock)
        self._gangs = Gangs(client, clock, self._members, self._tell)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        host = socket.gethostname()
        self._recorders = {
            name: EventRecorder(client, name, clock=clock, instance=f"{name}-{host}") for name in self._profiles
        }
        self._acts = Acts(client, clock, at_once=settings.bindings)
        self._assumed: dict[str, _Assumption] = {}
        """Pods by uid that the snapshot has on a node though the API does not say so yet."""
        self._victims: set[str] = set()
        """Pods by uid that have been chosen to make way, though the API does not say so yet."""
        self._companions = [make(client, clock, self._snapshot, self._tell) for make in companions]
        chance = chance or random.Random()
        self._situation = Situation(
            self._snapshot,
            self._occupants,
            self._nominations,
            budgets=lambda: [read_budget(one) for one in self._budgets.items()],
            labels=lambda key: labels_of(self._pods.get(key) or {"metadata": {}}),
            offset=lambda count: chance.randrange(count) if count else 0,
        )
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._work()
        finally:
            for uid in list(self._assumed):
                self._end_assumption(uid)  # their timers would start work that nobody waits for

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for name, recorder in self._recorders.items():
                self._start(restarting(f"scheduler events of {name}", recorder.run, clock=self._clock))
            companions = [one for each in self._companions for one in each.informers]
            informers = [self._nodes, self._pods, self._budgets, *companions]
            for one in informers:
                self._start(restarting(f"scheduler {one.resource.plural}", one.run, clock=self._clock))
            self._start(restarting("scheduler pod groups", self._gangs.run, clock=self._clock))
            # Deciding on half a cluster would pile pods onto the nodes that happened to be heard of first.
            for one in informers:
                await one.wait_synced()
            await self._gangs.wait_known()
            self._complete_half_bound_groups()
            log.info("the scheduler is working", nodes=self._snapshot.node_count)
            while True:
                self._decide(await self._queue.pop())
                await asyncio.sleep(0)  # a thousand waiting pods must not keep the informers from their events

    # What is heard

    def _node_changed(self, change: Change, node: Object, old: Object | None) -> None:
        if change == "deleted":
            self._snapshot.remove_node(name_of(node))
            self._tell(Event(NODE, change, node))
            for nomination in self._nominations.on(name_of(node)):
                self._queue.wake(nomination.key)
        elif self._snapshot.set_node(node):
            self._tell(Event(NODE, change, node, old))

    def _pod_changed(self, change: Change, pod: Object, old: Object | None) -> None:
        key, uid = key_of(pod), uid_of(pod)
        self._gangs.pod_changed(pod)
        if change == "deleted" or is_finished(pod):
            self._queue.remove(key)
            self._victims.discard(uid)
            self._end_assumption(uid)
            promised = self._nominations.remove(uid)
            node = self._snapshot.pod_node(uid) or (promised.node if promised else "")
            self._snapshot.remove_pod(uid)
            self._occupants.remove(uid)
            if node:
                self._left(pod, node)
        elif node_of(pod):
            self._queue.remove(key)
            self._nominations.remove(uid)
            assumption = self._end_assumption(uid)
            self._occupants.put(self._occupant(pod), node_of(pod))
            is_foreseen = (
                assumption is not None and assumption.node == node_of(pod) and is_only_bound(pod, assumption.pod)
            )  # fmt: skip
            if old is None or is_foreseen or what_counts(old) != what_counts(pod):
                if not is_foreseen:
                    self._snapshot.add_pod(uid, read_demand(pod), node_of(pod))
                self._tell(Event(ASSIGNED_POD, "updated" if old and node_of(old) else "added", pod, old))
        elif not self._is_ours(pod):
            self._queue.remove(key)
            if promised := self._nominations.remove(uid):
                self._left(pod, promised.node)
        else:
            self._note_promise(pod, old)
            if old is None or what_counts(old) != what_counts(pod):
                self._queue.add(key, priority_of(pod))
                if old is None and groups.group_key(pod):
                    self._tell(Event(WAITING_POD, "added", pod))

    def _note_promise(self, pod: Object, old: Object | None) -> None:
        """Take over what the pod says of its promised node; what we have promised but not yet written stays."""
        if node := promised_node(pod):
            if self._nominations.node_of(uid_of(pod)) != node:
                self._nominate(pod, read_demand(pod), node)
        elif old is not None and promised_node(old):
            self._nominations.remove(uid_of(pod))

    def _left(self, pod: Object, node: str) -> None:
        """A pod is on ``node`` no more: that helps those who fit now, and those to whom the node was promised."""
        self._tell(Event(ASSIGNED_POD, "deleted", {**pod, "spec": {**pod["spec"], "nodeName": node}}))
        for nomination in self._nominations.on(node):
            self._queue.wake(nomination.key)

    def _tell(self, event: Event) -> None:
        """Something may help pods that found no node."""
        self._queue.happened(event, self._cluster)

    def _occupant(self, pod: Object) -> Occupant:
        occupant = read_occupant(pod)
        if uid_of(pod) not in self._victims or occupant.makes_way:
            return occupant
        return Occupant(occupant.uid, occupant.key, occupant.priority, occupant.started, makes_way=True)

    def _is_ours(self, pod: Object) -> bool:
        return is_waiting(pod) and scheduler_of(pod) in self._profiles

    def _profile(self, pod: Object) -> Profile:
        return self._profiles[scheduler_of(pod)]

    def _members(self, group: str) -> list[Object]:
        return self._pods.by_index("group", group)

    # What is decided

    def _decide(self, key: str) -> None:
        """Decide one pod, or all that wait of its group, and set in motion what follows."""
        pod = self._pods.get(key)
        if pod is None or not self._is_ours(pod):
            self._queue.remove(key)
            return
        taken = [pod]
        try:
            if self._profile(pod).gangs and self._gangs.is_member(pod):
                taken = self._waiting_members(pod)
                self._queue.take(key_of(one) for one in taken if key_of(one) != key)
                group = self._gangs.group_of(pod)
                self._carry_out_together(self._decide_together(pod, taken, group), group)
            else:
                # It may be assumed still, if the answer to its last binding was lost: this replaces that.
                self._release(uid_of(pod))
                self._carry_out(deciding.decide(pod, self._situation, self._profile(pod)))
        except Exception:
            # A defect met by one pod must not stop the scheduling of all others.
            log.exception("a pod could not be decided and will be tried again", pod=key)
            for one in taken:
                self._queue.fail(key_of(one))

    def _waiting_members(self, pod: Object) -> list[Object]:
        """The pods of the group that are to be decided, the most important first; never those that are being bound."""
        waiting = [
            one
            for one in self._members(groups.group_key(pod))
            if self._is_ours(one) and uid_of(one) not in self._assumed and scheduler_of(one) == scheduler_of(pod)
        ]
        return sorted(waiting, key=lambda one: (-priority_of(one), key_of(one)))

    def _decide_together(self, pod: Object, waiting: list[Object], group: Group | None) -> list[Decision]:
        nodes = self._snapshot.node_count
        if group is None:
            return [deciding.refused_whole(one, groups.NOT_FOUND, nodes) for one in waiting]
        placed = self._placed(group)
        if placed + len(waiting) < group.minimum:
            why = groups.too_few(pod, group, placed + len(waiting))
            return [deciding.refused_whole(one, why, nodes) for one in waiting]
        return deciding.decide_together(group, waiting, self._situation, self._profile(pod), placed=placed)

    def _complete_half_bound_groups(self) -> None:
        """Our predecessor may have been killed in the middle of a group: nobody else comes before the rest of it."""
        for group in self._gangs.half_bound():
            for pod in self._members(group):
                if self._is_ours(pod):
                    self._queue.add(key_of(pod), FIRST_OF_ALL)

    # What follows

    def _carry_out(self, decision: Decision) -> None:
        if decision.node:
            self._assume(decision.pod, decision.demand, decision.node)
            self._start(self._bind(decision.pod, decision.node))
        else:
            self._turn_down(decision)

    def _carry_out_together(self, decisions: Sequence[Decision], group: Group | None) -> None:
        placed = [one for one in decisions if one.node]
        for one in placed:
            self._assume(one.pod, one.demand, one.node)
        for one in decisions:
            if not one.node:
                self._turn_down(one)
        if placed and group is not None:
            self._start(self._bind_together(placed, group))

    def _turn_down(self, decision: Decision) -> None:
        """The pod gets no node now: it waits, for its victims to leave or for better times, and is told why."""
        pod, refusal = decision.pod, decision.refusal
        assert refusal is not None
        key, uid = key_of(pod), uid_of(pod)
        waiter = Waiter(decision.demand, priority_of(pod), groups.group_key(pod))
        self._queue.refuse(key, waiter, refusal.plugins)
        if decision.preemption is not None:
            self._nominate(pod, decision.demand, decision.preemption.node)
            self._start(self._preempt(pod, decision.preemption, self._make_way(pod, decision.preemption)))
        elif not decision.keeps_promise and (withdrawn := self._nominations.remove(uid)):
            # Whoever respected the promise may have the room.
            self._left(pod, withdrawn.node)
        self._recorder(pod).event(pod, "Warning", "FailedScheduling", refusal.message, action="Scheduling")
        self._start(self._tell_why_not(pod, refusal.message, self._nominations.node_of(uid)))

    def _nominate(self, pod: Object, demand: Demand, node: str) -> None:
        self._nominations.put(Nomination(uid_of(pod), key_of(pod), priority_of(pod), demand, node))

    def _make_way(self, pod: Object, preemption: Preemption) -> list[Nomination]:
        """From now on the victims count as leaving; answers whose weaker promises on the node are void."""
        for victim in preemption.victims:
            self._victims.add(victim.uid)
            leaving = Occupant(victim.uid, victim.key, victim.priority, victim.started, makes_way=True)
            self._occupants.put(leaving, preemption.node)
        void = [one for one in self._nominations.on(preemption.node) if one.priority < priority_of(pod)]
        for one in void:
            self._nominations.remove(one.uid)
            self._queue.wake(one.key)
        return void

    async def _preempt(self, pod: Object, preemption: Preemption, void: Sequence[Nomination]) -> None:
        """Withdraw weaker promises and ask the victims to leave, all at once."""
        await asyncio.gather(
            *(self._withdraw(one) for one in void),
            *(self._evict(victim, pod, preemption) for victim in preemption.victims),
        )

    async def _withdraw(self, nomination: Nomination) -> None:
        pod = self._pods.get(nomination.key)
        if pod is None or uid_of(pod) != nomination.uid:
            return
        try:
            await self._acts.promise(pod, self._nominations.node_of(nomination.uid))
        except (ApiError, Retryable) as error:
            log.info("a promise was not withdrawn", pod=nomination.key, error=str(error))

    async def _evict(self, victim: Occupant, pod: Object, preemption: Preemption) -> None:
        assumption = self._assumed.get(victim.uid)
        found = self._pods.get(victim.key) or (assumption.pod if assumption else None)
        if found is None or uid_of(found) != victim.uid or "deletionTimestamp" in found["metadata"]:
            return
        try:
            await self._acts.evict(found, scheduler_of(pod))
        except (ApiError, Retryable) as error:
            # The pod that wanted its room is decided again, and may well choose the same victim.
            log.info("a victim was not asked to leave", victim=victim.key, pod=key_of(pod), error=str(error))
            self._victims.discard(victim.uid)
            if (now := self._pods.get(victim.key)) is not None and uid_of(now) == victim.uid and node_of(now):
                self._occupants.put(read_occupant(now), preemption.node)
            self._queue.wake(key_of(pod))
            return
        message = f"Preempted by pod {uid_of(pod)} on node {preemption.node}"
        self._recorder(pod).event(found, "Normal", "Preempted", message, action="Preempting", related=pod)

    def _assume(self, pod: Object, demand: Demand, node: str) -> None:
        uid = uid_of(pod)
        self._nominations.remove(uid)
        self._snapshot.add_pod(uid, demand, node)
        self._occupants.put(read_occupant(pod), node)
        self._assumed[uid] = _Assumption(pod, demand, node)
        for one in self._companions:
            one.reserve(pod, node)

    async def _bind(self, pod: Object, node: str) -> None:
        """Bind one pod; if that fails it is decided again."""
        try:
            await self._try_to_bind(pod, node)
        except (BindingRefused, ApiError, Retryable) as error:
            if not may_have_happened(error):
                self._give_up(pod, node, error)
                return
            # Its room stays taken until the API says where the pod is.
            log.info("the outcome of a binding is unknown", pod=key_of(pod), node=node, error=str(error))
            await self._clock.sleep(UNKNOWN.delay(0))
            if await self._ask_until_settled(pod):
                self._say_bound(pod, node)

    async def _try_to_bind(self, pod: Object, node: str) -> None:
        """Raises BindingRefused, ApiError and Retryable."""
        for one in self._companions:
            await one.before_binding(pod, node)
        try:
            await self._acts.bind(pod, node)
        except ApiError as error:
            # A conflict can mean that the pod has a node: from an earlier attempt, or somebody else's.
            if not error.is_conflict or not (found := await self._acts.whereabouts(pod)):
                raise
            self._move_assumption(pod, found)
            self._await_sight(pod)
        else:
            self._say_bound(pod, node)
            self._await_sight(pod)

    async def _ask_until_settled(self, pod: Object) -> bool:
        """Ask the API where an assumed pod is, until it says so. True if it has a node; else it is decided again."""
        attempt = 0
        while uid_of(pod) in self._assumed:
            try:
                found = await self._acts.whereabouts(pod)
            except (ApiError, Retryable) as error:
                log.info("it is still unknown whether a pod is bound", pod=key_of(pod), error=str(error))
                await self._clock.sleep(UNKNOWN.delay(attempt))
                attempt += 1
                continue
            if found:
                self._move_assumption(pod, found)
                self._await_sight(pod)
                return True
            self._release(uid_of(pod))
            self._queue.fail(key_of(pod))
        return False

    def _give_up(self, pod: Object, node: str, error: Exception) -> None:
        log.info("a binding was refused", pod=key_of(pod), node=node, error=str(error))
        if isinstance(error, BindingRefused):
            self._recorder(pod).event(pod, "Warning", "FailedScheduling", str(error), action="Scheduling")
        self._release(uid_of(pod))
        self._queue.fail(key_of(pod))

    def _say_bound(self, pod: Object, node: str) -> None:
        message = f"Successfully assigned {key_of(pod)} to {node}"
        self._recorder(pod).event(pod, "Normal", "Scheduled", message, action="Binding")

    def _await_sight(self, pod: Object) -> None:
        """The API has the pod on its node: the assumption ends soon, one way or the other."""
        if (assumption := self._assumed.get(uid_of(pod))) is not None:
            loop = asyncio.get_running_loop()
            assumption.timer = loop.call_later(self._settings.assume_seconds, self._expire, pod)

    def _move_assumption(self, pod: Object, node: str) -> None:
        """The API has the pod on a node, whichever we meant."""
        assumption = self._assumed.get(uid_of(pod))
        if assumption is None or assumption.node == node:
            return
        self._release(uid_of(pod))
        self._assume(pod, assumption.demand, node)

    async def _bind_together(self, placed: Sequence[Decision], group: Group) -> None:
        """Write the plan of a group down, then bind it; what fails is repeated while the group's time lasts."""
        until = self._clock.monotonic() + group.timeout
        await asyncio.gather(*(self._insist(one, self._promise, until) for one in placed))
        if self._placed(group) < group.minimum:
            # Some of the group went away meanwhile, and nothing is bound yet: the rest must be decided anew.
            for one in placed:
                self._release(uid_of(one.pod))
                self._queue.fail(key_of(one.pod))
            return
        await asyncio.gather(*(self._insist(one, self._try_to_bind, until) for one in placed))

    async def _promise(self, pod: Object, node: str) -> None:
        await self._acts.promise(pod, node)

    async def _insist(
        self, decision: Decision, act: Callable[[Object, str], Awaitable[None]], until: float
    ) -> None:  # fmt: skip
        """Repeat ``act`` until it succeeds, the pod is gone, it is refused for good, or the time is over."""
        pod, node, attempt = decision.pod, decision.node, 0
        while uid_of(pod) in self._assumed:
            try:
                await act(pod, node)
                return
            except (BindingRefused, ApiError, Retryable) as error:
                passes = may_have_happened(error) or (isinstance(error, ApiError) and error.is_too_many_requests)
                if not passes or self._clock.monotonic() >= until:
                    self._give_up(pod, node, error)
                    return
            await self._clock.sleep(UNKNOWN.delay(attempt))
            attempt += 1

    def _placed(self, group: Group) -> int:
        """How many of a group have a node, or are assumed to have one."""
        return sum(
            groups.counts_as_placed(one) or uid_of(one) in self._assumed for one in self._members(group.key)
        )  # fmt: skip

    async def _tell_why_not(self, pod: Object, message: str, promised: str) -> None:
        try:
            await self._acts.tell_why_not(pod, message, promised)
        except (ApiError, Retryable) as error:
            # The API is away, or the pod changes all the time; the next attempt tells it again.
            log.info("the PodScheduled condition was not written", pod=key_of(pod), error=str(error))

    def _recorder(self, pod: Object) -> EventRecorder:
        return self._recorders[scheduler_of(pod)]

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        self._tasks.create_task(work)

    # How assumptions end

    def _end_assumption(self, uid: str) -> _Assumption | None:
        assumption = self._assumed.pop(uid, None)
        if assumption is not None and assumption.timer is not None:
            assumption.timer.cancel()
        return assumption

    def _release(self, uid: str) -> None:
        """The pod is not where it was assumed to be: give its room back."""
        assumption = self._end_assumption(uid)
        if assumption is not None:
            self._snapshot.remove_pod(uid)
            self._occupants.remove(uid)
            for one in self._companions:
                one.release(assumption.pod, assumption.node)
            pod = self._pods.get(key_of(assumption.pod))
            if pod is not None and uid_of(pod) == uid and self._is_ours(pod) and (node := promised_node(pod)):
                self._nominate(pod, assumption.demand, node)
            self._left(assumption.pod, assumption.node)

    def _expire(self, pod: Object) -> None:
        """The API has accepted a binding and then not shown it: has it lost it, or do we hear nothing?"""
        log.warning("a binding has not shown in the API", pod=key_of(pod))
        self._start(self._ask_until_settled(pod))


def may_have_happened(error: Exception) -> bool:
    """The write was answered by nobody, or by a server that does not know itself what became of it."""
    return isinstance(error, Retryable) or (isinstance(error, ApiError) and error.code >= 500)


def _groups_of(pod: Object) -> list[str]:
    return [key] if (key := groups.group_key(pod)) else []
