"""A cluster to schedule on, in virtual time: the fake API server, and the scheduler as its client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kontinuum.api.kubernetes.resources import EVENTS, NODES, PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler import loop
from kontinuum.scheduler.settings import SchedulerSettings


def a_node(
    name: str, *, cpu: str = "2", memory: str = "4Gi", pods: str = "110", labels: dict[str, str] | None = None,
    taints: Sequence[Object] = (), unschedulable: bool = False, **more: str,
) -> Object:  # fmt: skip
    """``more`` are other resources, with ``_`` for what a Python name cannot hold."""
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods} | {
        key.replace("__", "/").replace("_", "."): value for key, value in more.items()
    }
    spec: Object = {"taints": list(taints)} if taints else {}
    if unschedulable:
        spec["unschedulable"] = True
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def a_pod(name: str, *, uid: str = "", requests: dict[str, str] | None = None, **spec: Any) -> Object:
    container: Object = {"name": "main", "image": "busybox", "resources": {"requests": requests or {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid or name},
        "spec": {"schedulerName": "default-scheduler", "containers": [container], **spec},
        "status": {"phase": "Pending"},
    }


class Cluster:
    """What a scenario does and sees; its own requests never fail."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.client = self.api.client()
        self.faults = Faults()

    async def create(self, *objects: Object) -> None:
        for obj in objects:
            resource = NODES if obj["kind"] == "Node" else PODS
            await self.client.create(resource, obj)

    async def pod(self, name: str) -> Object:
        return await self.client.get(PODS, name, namespace="default")

    async def node_of(self, name: str) -> str:
        return (await self.pod(name))["spec"].get("nodeName", "")

    async def condition(self, name: str) -> Object:
        conditions = (await self.pod(name))["status"].get("conditions", [])
        return next((one for one in conditions if one["type"] == "PodScheduled"), {})

    async def events(self, name: str) -> list[tuple[str, str, int]]:
        """Reason, message and count of the events about a pod."""
        events = (await self.client.list(EVENTS, namespace="default")).items
        return [(e["reason"], e["message"], e["count"]) for e in events if e["involvedObject"]["name"] == name]

    async def finish(self, name: str) -> None:
        """The pod's containers end well."""
        patch = {"status": {"phase": "Succeeded"}}
        await self.client.patch(PODS, name, patch, namespace="default", subresource="status")


def scenario(main: Callable[[Cluster], Awaitable[None]], settings: SchedulerSettings | None = None) -> None:
    """Run ``main`` beside a scheduler."""

    async def both() -> None:
        cluster = Cluster()
        client = Client(cluster.api.channel(cluster.faults))
        task = asyncio.create_task(loop.run(client, VirtualClock(), settings or SchedulerSettings()))
        try:
            await main(cluster)
        finally:
            await cancel(task)

    virtual_time.run(both)
