"""A small cluster in virtual time: the fake API server, all controllers, and nodes that pretend to run pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, LEASES, NODES, PODS, REPLICASETS
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.errors import Unreachable
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.controllers import manager
from kontinuum.controllers.lib.placement import target_of
from kontinuum.controllers.lib.pods import is_active, is_ready
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock, rfc3339, rfc3339_micro
from kontinuum.foundation.tasks import cancel

SECOND = 1.0
NODE_NAMES = ("node-0", "node-1", "node-2")


class Nodes:
    """Scheduler and kubelets in one: binds every pod, makes it ready after a while, and stops it when told to."""

    def __init__(self, client: Client, clock: VirtualClock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.ready_after = 2 * SECOND
        self.stopped_after = 1 * SECOND
        self.broken_images: set[str] = set()
        self.exits: dict[str, Callable[[Object], int | None]] = {}
        """By image: the exit code of a pod's container a second after its start; None: it goes on."""
        self.silent: set[str] = set()
        self.names = NODE_NAMES
        self._informer = Informer(client, PODS, clock=clock)
        self._informer.add_handler(self._changed)

    async def run(self) -> None:
        for name in self.names:
            await self.register(name)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informer.run())
                group.create_task(self._renew())
        finally:
            await cancel(*self._tasks)

    async def register(self, name: str) -> None:
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        await self._client.create(NODES, {"metadata": {"name": name}, "status": {"conditions": conditions}})
        lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}}
        await self._client.create(LEASES, lease)

    async def _renew(self) -> None:
        """Every node's Lease, and its Ready condition if somebody doubted it."""
        while True:
            for name in self.names:
                if name not in self.silent:
                    with contextlib.suppress(ApiError, Unreachable):
                        await self._show_life(name)
            await self._clock.sleep(10)

    async def _show_life(self, name: str) -> None:
        spec = {"renewTime": rfc3339_micro(self._clock.time())}
        await self._client.patch(LEASES, name, {"spec": spec}, namespace="kube-node-lease")
        node = await self._client.get(NODES, name)
        if any(one["status"] == "Unknown" for one in node["status"]["conditions"]):
            status = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
            await self._client.patch(NODES, name, {"status": status}, subresource="status")

    def _changed(self, change: str, pod: Object, old: Object | None) -> None:
        uid, leaving = uid_of(pod), "deletionTimestamp" in pod["metadata"]
        if change == "deleted":
            self._known.pop(uid, None)
        elif leaving and self._known.get(uid) != "stopping":
            self._begin(uid, "stopping", self._stop(pod))
        elif not leaving and uid not in self._known:
            self._begin(uid, "starting", self._start(pod))

    def _begin(self, uid: str, state: str, work: Any) -> None:
        self._known[uid] = state
        task = asyncio.create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Awaitable[None]) -> None:
        # The pod may have gone while we were about it.
        with contextlib.suppress(ApiError):
            await work

    async def _start(self, pod: Object) -> None:
        name, namespace = name_of(pod), namespace_of(pod)
        if not pod["spec"].get("nodeName"):
            usable = [one for one in self.names if one not in self.silent] or self.names
            node = target_of(pod) or usable[sum(name.encode()) % len(usable)]
            binding = {"target": {"kind": "Node", "name": node}}
            await self._client.create(PODS, binding, namespace=namespace, name=name, subresource="binding")
        await self._clock.sleep(self.ready_after)
        image = pod["spec"]["containers"][0]["image"]
        await self._report(pod, ready=image not in self.broken_images)
        code = self.exits[image](pod) if image in self.exits else None
        if code is not None:
            await self._clock.sleep(SECOND)
            await self._end(pod, code)

    async def _end(self, pod: Object, code: int) -> None:
        ended = {"exitCode": code, "finishedAt": rfc3339(self._clock.time())}
        containers = [{"name": "main", "restartCount": 0, "state": {"terminated": ended}}]
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": containers, "conditions": None}
        patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
        await self._client.patch(PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status")

    async def _report(self, pod: Object, *, ready: bool) -> None:
        current = await self._client.get(PODS, name_of(pod), namespace=namespace_of(pod))
        now = rfc3339(self._clock.time())
        conditions = set_condition(current["status"].get("conditions"), "Ready", ready, now=now)
        current["status"] |= {"phase": "Running", "conditions": conditions, **self._addresses(uid_of(pod))}
        current["status"].setdefault("startTime", now)
        await self._client.update(PODS, current, subresource="status")

    def _addresses(self, uid: str) -> Object:
        number = self._numbers.setdefault(uid, len(self._numbers))
        address = f"10.1.{number // 250}.{number % 250 + 1}"
        return {"podIP": address, "podIPs": [{"ip": address}]}

    async def _stop(self, pod: Object) -> None:
        await self._clock.sleep(self.stopped_after)
        if pod["metadata"].get("finalizers") and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded"):
            await self._end(pod, 143)
        while pod["spec"].get("nodeName") in self.silent:
            await self._clock.sleep(SECOND)
        await self._client.delete(
            PODS, name_of(pod), namespace=namespace_of(pod), uid=uid_of(pod), grace_seconds=0
        )  # fmt: skip


class Cluster:
    """See the module. ``faults`` are what the controllers suffer; ``client`` is the test's own way in."""

    def __init__(self, settings: ControllersSettings | None = None) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.client = self.api.client()
        self.faults = Faults()
        self.settings = settings or ControllersSettings()
        self.node_faults = Faults()
        self.nodes = Nodes(Client(self.api.channel(self.node_faults)), self.clock)
        self._manager: asyncio.Task[None] | None = None

    def start_controllers(self) -> None:
        client = Client(self.api.channel(self.faults))
        self._manager = asyncio.create_task(manager.run(client, self.clock, self.settings))

    async def kill_controllers(self) -> None:
        if self._manager is not None:
            await cancel(self._manager)
            self._manager = None

    def replace_controllers(self) -> None:
        """Kill them here and now: nothing more of theirs is carried out. Others begin, who know only the API."""
        self.faults.down = True
        if self._manager is not None:
            self._manager.cancel()
        self.faults = Faults()
        self.start_controllers()

    def everything(self, resource: Resource) -> list[Object]:
        return self.api.storage.all(resource)

    def deployment(self, name: str = "web", namespace: str = "default") -> Object:
        found = self.api.storage.get(DEPLOYMENTS, f"{namespace}/{name}")
        assert found is not None
        return found

    def pods(self) -> list[Object]:
        return [pod for pod in self.everything(PODS) if is_active(pod)]

    def ready_pods(self) -> list[Object]:
        return [pod for pod in self.pods() if is_ready(pod)]

    def images(self) -> dict[str, int]:
        """How many active pods run which image."""
        images = [pod["spec"]["containers"][0]["image"] for pod in self.pods()]
        return {image: images.count(image) for image in sorted(set(images))}

    def sizes(self) -> dict[str, int]:
        """The sizes of the ReplicaSets that have any, by image."""
        sizes = {one["spec"]["template"]["spec"]["containers"][0]["image"]: one["spec"]["replicas"]
                 for one in self.everything(REPLICASETS)}  # fmt: skip
        return {image: size for image, size in sorted(sizes.items()) if size}

    async def set_image(self, image: str, name: str = "web") -> None:
        template = self.deployment(name)["spec"]["template"]
        spec = {**template["spec"], "containers": [{"name": "main", "image": image}]}
        await self.client.patch(DEPLOYMENTS, name, {"spec": {"template": {"spec": spec}}}, namespace="default")

    async def patch(self, spec: Object, name: str = "web") -> None:
        await self.client.patch(DEPLOYMENTS, name, {"spec": spec}, namespace="default")

    async def settle(self, seconds: float = 120.0) -> None:
        await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def running(settings: ControllersSettings | None = None) -> AsyncIterator[Cluster]:
    """A cluster whose controllers and nodes run until the block ends."""
    cluster = Cluster(settings)
    nodes = asyncio.create_task(cluster.nodes.run())
    cluster.start_controllers()
    try:
        yield cluster
    finally:
        await cluster.kill_controllers()
        await cancel(nodes)


def scenario(main: Callable[[Cluster], Awaitable[None]], settings: ControllersSettings | None = None) -> None:
    """Run ``main`` in a running cluster, in virtual time."""

    async def run() -> None:
        async with running(settings) as cluster:
            await main(cluster)

    virtual_time.run(run)


def deployment(name: str = "web", *, replicas: int = 3, image: str = "image:1", **spec: Any) -> Object:
    """A Deployment as a user writes it."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            **spec,
        },
    }
