"""The node agent: registers this machine, and gives every pod that is bound to it a worker.

    informer (pods of this node) ──▶ workers, one per pod UID ◀── observer (what changed in the runtime)
                                        │
    API ◀── status, events, heartbeat   └──▶ CRI, volumes, cgroups

A pod that runs here but that the API does not know gets a worker too, whose only wish is its end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.client.events import EventRecorder
from kontinuum.client.informer import Change, Informer
from kontinuum.client.rest import Client
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError, Retryable
from kontinuum.foundation.sockets import MANY_FILES, allow_open_files
from kontinuum.foundation.tasks import restarting
from kontinuum.images.services import Containerd
from kontinuum.images.store import pinned
from kontinuum.node import (
    container_collection,
    containerd,
    leftovers,
    machine_facts,
    names,
    network,
    pods,
    preemption,
    qos,
    template_news,
)
from kontinuum.node.admission import Refusal, misplaced, verdict
from kontinuum.node.checks import Checker
from kontinuum.node.cri import CriClient
from kontinuum.node.erasing import Eraser
from kontinuum.node.eviction.evictor import Evictor, wait_stopped
from kontinuum.node.eviction.signals import signals
from kontinuum.node.heartbeat import Heartbeat
from kontinuum.node.image_collection import ImageCollector
from kontinuum.node.images import Puller, named_by
from kontinuum.node.observer import observe
from kontinuum.node.pages import Pages
from kontinuum.node.port import Fingerprint
from kontinuum.node.registration import MachineFacts, allocatable, capacity
from kontinuum.node.remembered import Ending
from kontinuum.node.resize import Room
from kontinuum.node.server import NodeServer
from kontinuum.node.services import KnownServices
from kontinuum.node.settings import NodeSettings
from kontinuum.node.shutdown import logind, progress
from kontinuum.node.shutdown.leaving import LEAVING, Shutdown
from kontinuum.node.shutdown.plan import ON_COMMAND
from kontinuum.node.sources import Sources
from kontinuum.node.static.keeper import StaticPods
from kontinuum.node.status import HostFacts
from kontinuum.node.tokens import Tokens
from kontinuum.node.tools import Tools
from kontinuum.node.usage.gathering import Gatherer
from kontinuum.node.usage.measuring import Meter
from kontinuum.node.volumes.scratch import Scratch
from kontinuum.node.worker import PodWorker, as_vanished

log = structlog.get_logger(__name__)

T = TypeVar("T")
COMPONENT = "kubelet"
FALLEN = Backoff(initial=1.0, maximum=60.0)
WAITING_FOR_RUNTIME = Backoff(initial=0.02, maximum=1.0)


async def run(
    client: Client,
    clock: Clock,
    settings: NodeSettings,
    *,
    registered: Callable[[], object] = lambda: None,
    on_drain: Callable[[Callable[[], None]], None] | None = None,
) -> None:
    """Run the agent of this machine until cancelled. containerd must run, or be about to.

    ``registered`` is called once, when the Node object is there; ``on_drain`` is given what whoever wants the pods to
    end in order is to call.
    """
    allow_open_files(MANY_FILES)
    await network.prepare(settings)
    async with CriClient(settings.socket, undivided=containerd.undivided(settings)) as runtime:
        name, version = await _answered(runtime.version, clock)
        features = await _answered(runtime.features, clock)
        facts = machine_facts.read(settings, f"{name}://{version}", features)
        services = KnownServices(client, clock)
        events = EventRecorder(client, COMPONENT, facts.name, clock=clock)
        tools = _tools(client, runtime, clock, settings, events, services, facts)
        unheld = _hold_all_pods(settings, facts)
        agent = Agent(tools, facts.name)
        meter = Meter(runtime, clock, settings)
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(Containerd(settings.socket, clock))
            port = 0
            if settings.certificate:
                pages = Pages(
                    facts.name,
                    settings,
                    Gatherer(facts.name, settings, runtime, clock, meter, agent.workers),
                    tools.probe_counts,
                    known=agent.workers,
                    evictions=agent.evictions,
                )
                server = await stack.enter_async_context(
                    NodeServer(settings, runtime, clock, find_pod=agent.find_pod, pages=pages.routes)
                )
                port = server.port

            def tell(kind: str, reason: str, message: str) -> None:
                events.event(heartbeat.node, kind, reason, message)

            heartbeat = Heartbeat(
                client,
                runtime,
                clock,
                settings,
                facts,
                port,
                pressures=agent.pressures,
                is_leaving=agent.is_leaving,
                tell=tell,
            )
            shutdown = Shutdown(clock, settings.shutdown_groups or ON_COMMAND, agent.workers, heartbeat.hurry)
            agent.follow_shutdown(shutdown)
            if on_drain is not None:
                on_drain(shutdown.announce)

            collector = ImageCollector(
                runtime,
                clock,
                settings,
                named=lambda: named_by(agent.pods()),
                pinned=partial(pinned, store),
                tell=tell,
                kept=tools.puller.keep_only,
            )

            async def make_room() -> None:
                ended = {uid_of(worker.pod) for worker in agent.workers() if pods.is_terminal(worker.pod)}
                await container_collection.collect_ended(runtime, ended)
                await collector.collect_images(all_unused=True)

            evictor = Evictor(
                settings,
                clock,
                events,
                workers=agent.workers,
                measure=meter.measure,
                signals=partial(signals, settings.data, settings.imagefs),
                node=lambda: heartbeat.node,
                changed=heartbeat.hurry,
                make_room=make_room,
                has_image_disk=settings.data.stat().st_dev != settings.imagefs.stat().st_dev,
            )
            agent.follow_pressures(evictor)
            agent.follow_node(lambda: heartbeat.node)
            agent.keep_static(_static_pods(settings, facts.name), lambda: heartbeat.node)
            async with asyncio.TaskGroup() as group:

                def keep(name: str, chore: Callable[[], Awaitable[None]]) -> None:
                    """A chore that falls is begun again. It is no reason for all pods' workers to fall with it."""
                    group.create_task(restarting(name, chore, clock=clock))

                keep("events", events.run)
                keep("services", services.run)
                group.create_task(agent.run())
                await heartbeat.register()
                registered()
                if unheld:
                    tell("Warning", "FailedNodeAllocatableEnforcement", unheld)
                elif settings.enforce_node_allocatable:
                    tell("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
                keep("heartbeat", heartbeat.run)
                keep("images", collector.run)
                if settings.maximum_dead_containers >= 0:
                    keep("containers", lambda: container_collection.run(runtime, clock, settings, tell))
                keep("eviction", evictor.run)
                if settings.runtime_config:
                    file = Path(settings.runtime_config)
                    keep("templates", lambda: template_news.follow(file, clock, tell))
                keep("shutdown", shutdown.run)
                keep("progress of the shutdown", lambda: progress.tell(shutdown, clock, settings.shutdown_file))
                if settings.shutdown_groups:
                    seconds = sum(one.seconds for one in settings.shutdown_groups)
                    # Not kept: it returns where there is no logind, and goes on by itself where there is.
                    group.create_task(logind.follow(shutdown, clock, seconds))
                keep("eraser", Eraser(client, clock, settings, facts.name).run)


def _tools(
    client: Client,
    runtime: CriClient,
    clock: Clock,
    settings: NodeSettings,
    events: EventRecorder,
    services: KnownServices,
    facts: MachineFacts,
) -> Tools:
    room = allocatable(facts, settings)
    sources = Sources(client, clock)
    return Tools(
        client=client,
        runtime=runtime,
        clock=clock,
        settings=settings,
        events=events,
        sources=sources,
        services=services,
        tokens=Tokens(client, clock),
        puller=Puller(runtime, sources, clock, settings),
        scratch=Scratch(settings.data / "scratch", usual_bytes=settings.machine_empty_dir_bytes),
        checks=Checker(runtime),
        host=HostFacts(facts.address),
        host_resolver=names.parse_resolver(names.HOST_RESOLVER.read_text()),
        node_cpu=room.cpu,
        node_memory=room.memory,
        node_storage=room.storage,
        features=facts.features,
    )


def _hold_all_pods(settings: NodeSettings, facts: MachineFacts) -> str:
    """Limit the cgroup of all pods to what the node has for them; why that cannot be done, or ""."""
    try:
        qos.prepare(settings, capacity(facts).less(settings.reserved))
    except OSError as error:
        # Pods that run take more than was reserved from now on: they are held to it when they have ended.
        log.warning("the cgroup of all pods cannot be limited", error=str(error))
        return f'Failed to update Node Allocatable Limits "{qos.of_all(settings)}": {error}'
    return ""


def _static_pods(settings: NodeSettings, node: str) -> Callable[[], Iterable[Object]]:
    """Reads the folder of static pods; where there is none, none of what understands its files is loaded."""
    if not settings.static_pod_path:
        return tuple
    from kontinuum.node.static.folder import Folder

    return Folder(Path(settings.static_pod_path), node).look


async def _answered(ask: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """What the runtime answers, as soon as it does."""
    failures = 0
    while True:
        try:
            return await ask()
        except Retryable as error:
            if failures == 0:
                log.info("waiting for the container runtime", error=str(error))
        except Exception:
            # A defect, which takes nobody with it, as in every chore.
            log.exception("the container runtime is asked again")
        await clock.sleep(WAITING_FOR_RUNTIME.delay(failures))
        failures += 1


class Agent:
    """The pods of one node and their workers."""

    def __init__(self, tools: Tools, node_name: str) -> None:
        self._tools = tools
        self._informer = Informer(tools.client, PODS, clock=tools.clock, fields=f"spec.nodeName={node_name}")
        self._informer.add_handler(self._on_pod)
        self._workers: dict[str, PodWorker] = {}
        self._finished: set[str] = set()
        """Pods that are done here but still in the API, where a finalizer holds them."""
        self._static: StaticPods | None = None
        self._strangers: dict[str, Fingerprint] | None = {}
        """What runs and nobody has asked for, until the API has said what it asks for; None afterwards."""
        self._node: Callable[[], Object] = dict
        self._evictor: Evictor | None = None
        self._shutdown: Shutdown | None = None
        self._is_sharing = False
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; running pods are left alone then."""
        tools = self._tools
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._informer.run())
            if self._static is not None:
                # Before anything is looked at that runs: static pods do not wait for the API.
                self._static.look()
                self._group.create_task(restarting("static pods", self._static.run, clock=tools.clock))
            idle = tools.settings.observe_seconds
            look = partial(observe, tools.runtime, tools.clock, idle_seconds=idle, changed=self._on_runtime)
            self._group.create_task(restarting("what runs", look, clock=tools.clock))
            await self._informer.wait_synced()
            strangers, self._strangers = self._strangers or {}, None
            for uid, found in strangers.items():
                self._on_runtime(uid, found)
            # What runs is not left over, even if nobody wants it: it gets a worker that ends it in order.
            running = await _answered(tools.runtime.fingerprints, tools.clock)
            leftovers.remove(tools.settings, {*self._workers, *running})

    def keep_static(self, look: Callable[[], Iterable[Object]], node: Callable[[], Object]) -> None:
        """Run the pods that ``look`` finds; ``node`` is the Node object."""
        tools = self._tools
        seconds = tools.settings.file_check_frequency
        self._static = StaticPods(
            tools.client, tools.clock, look, hire=self._take, node=node, look_seconds=seconds
        )  # fmt: skip

    def follow_node(self, node: Callable[[], Object]) -> None:
        """Take no pods that do not belong on ``node``, the Node object as last seen; empty if it is not known yet."""
        self._node = node

    def follow_pressures(self, evictor: Evictor) -> None:
        """Take no pods that the node's pressures forbid."""
        self._evictor = evictor

    def pressures(self) -> frozenset[str]:
        return self._evictor.pressures if self._evictor is not None else frozenset()

    def follow_shutdown(self, shutdown: Shutdown) -> None:
        """Take no pods once the node is leaving."""
        self._shutdown = shutdown

    def is_leaving(self) -> bool:
        return self._shutdown is not None and self._shutdown.is_leaving

    def evictions(self) -> Mapping[str, int]:
        """How many pods had to go, by signal."""
        return self._evictor.evictions if self._evictor is not None else {}

    def workers(self) -> list[PodWorker]:
        return list(self._workers.values())

    def find_pod(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of the pod, for logs and streams."""
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return worker
        return None

    def _all_but(self, uid: str) -> list[Object]:
        return [worker.pod for other, worker in self._workers.items() if other != uid]

    def pods(self) -> list[Object]:
        return [worker.pod for worker in self._workers.values()]

    def _on_pod(self, change: Change, pod: Object, _: Object | None) -> None:
        uid = uid_of(pod)
        if pods.is_mirror(pod):
            if self._static is not None:
                self._static.on_mirror(pod, is_there=change != "deleted")
            return
        worker = self._workers.get(uid)
        if change == "deleted":
            self._finished.discard(uid)
            if worker is not None:
                worker.vanish()
        elif worker is not None:
            worker.update(pod)
        elif uid not in self._finished:
            self._take(pod)

    def _take(self, pod: Object) -> PodWorker:
        """Give the pod a worker: to run it, or to say why it cannot stay."""
        found = self._verdict(pod)
        if isinstance(found, Refusal):
            worker = self._hire(uid_of(pod), pod)
            worker.refuse(found)
            return worker
        leaving = [self._workers[uid_of(one)] for one in found]
        for one in leaving:
            if not one.is_over:
                self._tools.events.event(one.pod, "Warning", preemption.REASON, preemption.MESSAGE)
                one.end(Ending(preemption.REASON, preemption.MESSAGE, is_disruption=True))
        return self._hire(uid_of(pod), pod, after=leaving)

    def _verdict(self, pod: Object) -> Refusal | list[Object]:
        """Why a new pod cannot stay, or who makes way for it."""
        if not _is_new(pod):
            return []
        if self.is_leaving():
            return LEAVING
        others = [worker.pod for worker in self._workers.values() if not worker.is_refused]
        tools, settings = self._tools, self._tools.settings
        room = Room(tools.node_cpu, tools.node_memory, tools.node_storage)
        return verdict(
            pod, others, room, settings.max_pods, settings.allowed_unsafe_sysctls, self.pressures(),
            has_groups_policy=tools.features.supplemental_groups_policy,
        )  # fmt: skip

    async def _send_back_if_misplaced(self, worker: PodWorker) -> None:
        """Labels and taints may have changed since we saw the Node last: nobody is refused for what was."""
        node = self._node()
        if not node or not _is_new(worker.pod) or worker.is_refused or pods.is_static(worker.pod):
            return
        if misplaced(worker.pod, node) is None:
            return
        try:
            why = misplaced(worker.pod, await self._tools.client.get(NODES, name_of(node)))
        except KontinuumError as error:
            log.info("a pod is taken that may not belong here", pod=name_of(worker.pod), error=str(error))
            return
        if why is not None:
            worker.refuse(why)

    def _on_runtime(self, uid: str, found: Fingerprint) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.notice()
        elif self._strangers is not None:
            self._strangers[uid] = found
        elif found.states and uid not in self._finished:
            log.info("ending a pod that the API does not know", namespace=found.namespace, name=found.name, uid=uid)
            orphan = self._hire(uid, _unknown_pod(uid, found, self._tools.clock.time()))
            orphan.vanish()

    def _hire(self, uid: str, pod: Object, after: Sequence[PodWorker] = ()) -> PodWorker:
        """``after``: whose containers have to be gone first."""
        worker = self._workers[uid] = PodWorker(pod, self._tools, lambda: self._all_but(uid))
        self._share_out_soon()
        assert self._group is not None, "pods are only told while the agent runs"
        self._group.create_task(self._employ(uid, worker, after))
        return worker

    def _share_out_soon(self) -> None:
        """Once for all pods that come or go together."""
        if not self._is_sharing:
            self._is_sharing = True
            asyncio.get_running_loop().call_soon(self._share_out)

    def _share_out(self) -> None:
        self._is_sharing = False
        try:
            qos.share_out(self._tools.settings, self.pods(), self._tools.cgroup_root)
        except OSError as error:
            log.warning("the cgroup of burstable pods cannot be changed", error=str(error))

    async def _employ(self, uid: str, worker: PodWorker, after: Sequence[PodWorker]) -> None:
        """Run one worker to its pod's end; one that falls over is started again, and the others do not notice."""
        await self._send_back_if_misplaced(worker)
        await wait_stopped(after, self._tools.clock)
        failures = 0
        while True:
            try:
                await worker.run()
                break
            except Exception:
                log.exception("a pod's worker fell over and will be started again", uid=uid)
                await self._tools.clock.sleep(FALLEN.delay(failures))
                failures += 1
        del self._workers[uid]
        self._share_out_soon()
        if pods.is_static(worker.pod):
            if self._static is not None:
                self._static.on_finished(worker.pod)
        elif self._informer.get(f"{worker.pod['metadata']['namespace']}/{worker.pod['metadata']['name']}") is not None:
            self._finished.add(uid)


def _is_new(pod: Object) -> bool:
    """Whether nobody has taken it yet, neither we nor who ran here before us."""
    return not ((pod.get("status") or {}).get("containerStatuses") or pods.is_deleting(pod) or pods.is_terminal(pod))


def _unknown_pod(uid: str, found: Fingerprint, now: float) -> Object:
    """As much of a pod as is needed to end it."""
    metadata = {"name": found.name, "namespace": found.namespace, "uid": uid}
    return as_vanished({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}, now)
