"""The scheduler at work: hears of nodes and pods, decides one pod at a time, and binds many at once.

    informers ──▶ snapshot, queue ──pop──▶ place ──▶ Placement: assume it, bind it; the informer shows it
                                             └────▶ Refusal: tell why; wait for a relevant change

A decision counts at once: the snapshot holds the pod on its node before the API does (the pod is *assumed*), so that
the next decision need not wait. The assumption ends when the API shows the pod on a node, when the binding is refused,
or when the API has kept silent about it for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

import structlog

from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.conditions import get_condition, set_condition
from kontinuum.api.machinery.objects import Object, key_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.election import leading
from kontinuum.client.events import EventRecorder
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock, rfc3339
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import restarting
from kontinuum.scheduler.companion import BindingRefused, Make
from kontinuum.scheduler.demand import Demand, read_demand
from kontinuum.scheduler.events import ASSIGNED_POD, NODE, Event
from kontinuum.scheduler.place import Placement, Refusal, place
from kontinuum.scheduler.queue import SchedulingQueue
from kontinuum.scheduler.reading import is_finished, is_waiting, node_of, priority_of, trim_node, trim_pod, what_counts
from kontinuum.scheduler.relations import Relations
from kontinuum.scheduler.settings import SchedulerSettings
from kontinuum.scheduler.snapshot import Snapshot
from kontinuum.scheduler.storage.companion import Volumes

log = structlog.get_logger(__name__)

LEASE = "kube-scheduler"

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
    node: str
    timer: asyncio.TimerHandle | None = None
    """Ends it; runs once the binding has been accepted."""


class Scheduler:
    """One scheduler's knowledge and work; see the module."""

    def __init__(
        self, client: Client, clock: Clock, settings: SchedulerSettings, companions: Sequence[Make] = COMPANIONS
    ) -> None:
        self._client = client
        self._clock = clock
        self._settings = settings
        self._snapshot = Snapshot()
        backoff = Backoff(initial=settings.backoff_initial_seconds, maximum=settings.backoff_maximum_seconds)
        self._queue = SchedulingQueue(clock, backoff, look_again=settings.look_again_seconds)
        self._nodes = Informer(client, NODES, clock=clock, trim=trim_node)
        self._pods = Informer(client, PODS, clock=clock, trim=trim_pod)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        self._events = EventRecorder(client, settings.name, clock=clock)
        self._assumed: dict[str, _Assumption] = {}
        """Pods by uid that the snapshot has on a node though the API does not say so yet."""
        self._companions = [make(client, clock, self._snapshot, self._tell) for make in companions]
        self._writers = asyncio.Semaphore(settings.bindings)
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            informers = [self._nodes, self._pods, *(one for each in self._companions for one in each.informers)]
            self._start(restarting("scheduler events", self._events.run, clock=self._clock))
            for one in informers:
                self._start(restarting(f"scheduler {one.resource.plural}", one.run, clock=self._clock))
            # Deciding on half a cluster would pile pods onto the nodes that happened to be heard of first.
            for one in informers:
                await one.wait_synced()
            log.info("the scheduler is working", nodes=self._snapshot.node_count)
            while True:
                self._decide(await self._queue.pop())
                await asyncio.sleep(0)  # a thousand waiting pods must not keep the informers from their events

    def _node_changed(self, change: Change, node: Object, old: Object | None) -> None:
        if change == "deleted":
            self._snapshot.remove_node(name_of(node))
            self._tell(Event(NODE, change, node))
        elif self._snapshot.set_node(node):
            self._tell(Event(NODE, change, node, old))

    def _pod_changed(self, change: Change, pod: Object, old: Object | None) -> None:
        key, uid = key_of(pod), uid_of(pod)
        if change == "deleted" or is_finished(pod):
            self._queue.remove(key)
            self._end_assumption(uid)
            if self._snapshot.remove_pod(uid):
                self._tell(Event(ASSIGNED_POD, "deleted", pod))
        elif node_of(pod):
            self._queue.remove(key)
            self._end_assumption(uid)
            if old is None or what_counts(old) != what_counts(pod):
                self._snapshot.add_pod(uid, read_demand(pod), node_of(pod))
                self._tell(Event(ASSIGNED_POD, "updated" if old and node_of(old) else "added", pod, old))
        elif not is_waiting(pod, self._settings.name):
            self._queue.remove(key)
        elif old is None or old["spec"] != pod["spec"]:
            self._queue.add(key, priority_of(pod))

    def _decide(self, key: str) -> None:
        """Find a node for one pod and set in motion what follows."""
        pod = self._pods.get(key)
        if pod is None or not is_waiting(pod, self._settings.name):
            self._queue.remove(key)
            return
        # It may be assumed still, if the answer to its last binding was lost: what is decided now replaces that.
        self._release(uid_of(pod))
        try:
            demand = read_demand(pod)
            decision = place(demand, self._snapshot)
        except Exception:
            # A defect met by one pod must not stop the scheduling of all others.
            log.exception("a pod could not be decided and will be tried again", pod=key)
            self._queue.fail(key)
            return
        if isinstance(decision, Placement):
            self._assume(pod, demand, decision.node)
            self._start(self._bind(pod, decision.node))
        else:
            self._queue.refuse(key)
            self._start(self._report(pod, decision))

    def _assume(self, pod: Object, demand: Demand, node: str) -> None:
        self._snapshot.add_pod(uid_of(pod), demand, node)
        self._assumed[uid_of(pod)] = _Assumption(pod, node)
        for one in self._companions:
            one.reserve(pod, node)

    async def _bind(self, pod: Object, node: str) -> None:
        key, uid = key_of(pod), uid_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            for one in self._companions:
                await one.before_binding(pod, node)
            async with self._writers:
                await self._client.create(PODS, binding, name=name_of(pod), subresource="binding")
        except BindingRefused as error:
            self._events.event(pod, "Warning", "FailedScheduling", str(error))
            self._release(uid)
            self._queue.fail(key)
            return
        except ApiError as error:
            log.info("a binding was refused", pod=key, node=node, error=str(error))
            self._release(uid)
            self._queue.fail(key)
            return
        except Retryable as error:
            # It may have happened: the room stays taken until the next attempt or the informer knows better.
            log.info("the outcome of a binding is unknown", pod=key, node=node, error=str(error))
            self._queue.fail(key)
            return
        self._events.event(pod, "Normal", "Scheduled", f"Successfully assigned {key} to {node}")
        if (assumption := self._assumed.get(uid)) is not None:
            loop = asyncio.get_running_loop()
            assumption.timer = loop.call_later(self._settings.assume_seconds, self._expire, key, uid)

    async def _report(self, pod: Object, refusal: Refusal) -> None:
        """Tell people why: an event for each attempt, and the condition when it says something new."""
        self._events.event(pod, "Warning", "FailedScheduling", refusal.message)
        condition = get_condition(pod, "PodScheduled") or {}
        if (condition.get("reason"), condition.get("message")) == ("Unschedulable", refusal.message):
            return
        conditions = set_condition(
            pod["status"].get("conditions"),
            "PodScheduled",
            False,
            now=rfc3339(self._clock.time()),
            reason="Unschedulable",
            message=refusal.message,
        )
        patch = {
            "metadata": {"resourceVersion": pod["metadata"]["resourceVersion"], "uid": uid_of(pod)},
            "status": {"conditions": conditions},
        }
        try:
            async with self._writers:
                await self._client.patch(PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status")
        except (ApiError, Retryable) as error:
            # The pod has changed or gone, or the API is away; the next attempt tells it again.
            log.info("the PodScheduled condition was not written", pod=key_of(pod), error=str(error))

    def _tell(self, event: Event) -> None:
        """Something may help pods that found no node."""
        self._queue.relevant_change()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.create_task(work)

    def _end_assumption(self, uid: str) -> _Assumption | None:
        """The API has said where the pod is, or that it is gone."""
        assumption = self._assumed.pop(uid, None)
        if assumption is not None and assumption.timer is not None:
            assumption.timer.cancel()
        return assumption

    def _release(self, uid: str) -> None:
        """The pod is not where it was assumed to be: give its room back."""
        assumption = self._end_assumption(uid)
        if assumption is not None:
            self._snapshot.remove_pod(uid)
            for one in self._companions:
                one.release(assumption.pod, assumption.node)
            self._tell(Event(ASSIGNED_POD, "deleted", assumption.pod))

    def _expire(self, key: str, uid: str) -> None:
        log.warning("a binding never showed in the API; its room is given back", pod=key)
        self._release(uid)
        pod = self._pods.get(key)
        if pod is not None and is_waiting(pod, self._settings.name):
            self._queue.add(key, priority_of(pod))
