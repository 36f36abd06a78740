"""A small cluster in virtual time: the fake API server, all controllers, and nodes that pretend to run pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.controllers import manager
from kontinuum.controllers.lib.placement import target_of
from kontinuum.controllers.lib.pods import is_active, is_ready
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.hollow.nodes import HollowNodes

SECOND = 1.0
NODE_NAMES = ("node-0", "node-1", "node-2")


class Binder:
    """The scheduler's stand-in: every pod gets a node at once, the same one whenever that is played again."""

    def __init__(self, client: Client, clock: VirtualClock, nodes: HollowNodes) -> None:
        self._client = client
        self._nodes = nodes
        self._tasks: set[asyncio.Task[None]] = set()
        self._bound: set[str] = set()
        self._informer = Informer(client, PODS, clock=clock)
        self._informer.add_handler(self._changed)

    async def run(self) -> None:
        try:
            await self._informer.run()
        finally:
            await cancel(*self._tasks)

    def _changed(self, change: str, pod: Object, old: Object | None) -> None:
        is_waiting = not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]
        if change != "deleted" and is_waiting and uid_of(pod) not in self._bound and self._nodes.names:
            self._bound.add(uid_of(pod))
            task = asyncio.create_task(self._bind(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _bind(self, pod: Object) -> None:
        name, names = name_of(pod), self._nodes.names
        usable = [one for one in names if one not in self._nodes.silent] or names
        binding = {"target": {"kind": "Node", "name": target_of(pod) or usable[sum(name.encode()) % len(usable)]}}
        # The pod may have gone while we were about it.
        with contextlib.suppress(ApiError):
            await self._client.create(PODS, binding, namespace=namespace_of(pod), name=name, subresource="binding")


class Cluster:
    """See the module. ``faults`` are what the controllers suffer; ``client`` is the test's own way in."""

    def __init__(self, settings: ControllersSettings | None = None) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.client = self.api.client()
        self.faults = Faults()
        self.settings = settings or ControllersSettings()
        self.node_faults = Faults()
        theirs = Client(self.api.channel(self.node_faults))
        self.nodes = HollowNodes(theirs, self.clock, NODE_NAMES)
        self.exits: dict[str, Callable[[Object], int | None]] = {}
        """By image: the exit code of a pod's container a second after its start; None: it goes on."""
        self.nodes.exit_of = lambda pod: self.exits.get(pod["spec"]["containers"][0]["image"], lambda _: None)(pod)
        self.binder = Binder(theirs, self.clock, self.nodes)
        self.beside: list[asyncio.Task[None]] = []
        """What else works until the end."""
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
    binder = asyncio.create_task(cluster.binder.run())
    cluster.start_controllers()
    try:
        yield cluster
    finally:
        await cluster.kill_controllers()
        await cancel(binder, nodes, *cluster.beside)


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
