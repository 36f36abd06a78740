"""A cluster to schedule on, in virtual time: the fake API server, and the scheduler as its client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from kontinuum.api.kubernetes.resources import EVENTS, NODES, PODDISRUPTIONBUDGETS, PODS, STORED
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock, rfc3339
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler import groups, loop
from kontinuum.scheduler.groups import PODGROUPS
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


def a_budget(name: str, *, allowed: int, **labels: str) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"disruptionsAllowed": allowed},
    }


def a_pod_group(name: str, minimum: int, **spec: Any) -> Object:
    return {
        "apiVersion": PODGROUPS.api_version,
        "kind": "PodGroup",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"minMember": minimum, **spec},
    }


def labelled(pod: Object, **labels: str) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}}


def of_group(pod: Object, group: str) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "labels": {groups.LABEL: group}}}


RESOURCES = {"Node": NODES, "Pod": PODS, "PodDisruptionBudget": PODDISRUPTIONBUDGETS, "PodGroup": PODGROUPS}


class Cluster:
    """What a scenario does and sees; its own requests never fail."""

    def __init__(self, *, with_groups: bool = True) -> None:
        self.api = FakeApi(resources=(*STORED, PODGROUPS) if with_groups else STORED)
        self.client = self.api.client()
        self.faults = Faults()

    async def create(self, *objects: Object) -> None:
        for obj in objects:
            resource = RESOURCES[obj["kind"]]
            made = await self.client.create(resource, obj)
            if resource == PODDISRUPTIONBUDGETS:
                made["status"] = obj["status"]
                await self.client.update(resource, made, subresource="status")

    async def pod(self, name: str) -> Object:
        return await self.client.get(PODS, name, namespace="default")

    async def node_of(self, name: str) -> str:
        return (await self.pod(name))["spec"].get("nodeName", "")

    async def condition(self, name: str, kind: str = "PodScheduled") -> Object:
        conditions = (await self.pod(name))["status"].get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def pods(self) -> list[Object]:
        """All pods as the API has them now."""
        return self.api.storage.find(PODS, lambda pod: True)

    def nodes_of(self, *names: str) -> list[str]:
        """Where the pods are; "" for one that is nowhere, "gone" for one that is not there."""
        found = {name_of(pod): pod["spec"].get("nodeName", "") for pod in self.pods()}
        return [found.get(name, "gone") for name in names]

    async def agents(self, *, grace: float = 0.0) -> None:
        """What the nodes' agents do: pods run from when they are bound, and end ``grace`` seconds after they must."""
        informer = Informer(self.client, PODS, clock=VirtualClock())
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[Any, Any, None]) -> None:
            task = loop.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def changed(change: str, pod: Object, old: Object | None) -> None:
            if change == "deleted" or not pod["spec"].get("nodeName"):
                return
            if "deletionTimestamp" in pod["metadata"]:
                if old is None or "deletionTimestamp" not in old["metadata"]:
                    start(self._end(pod, grace))
            elif pod["status"]["phase"] == "Pending":
                start(self._run(pod))

        informer.add_handler(changed)
        await informer.run()

    async def _run(self, pod: Object) -> None:
        status = {"phase": "Running", "startTime": rfc3339(VirtualClock().time())}
        with contextlib.suppress(ApiError):
            await self.client.patch(PODS, name_of(pod), {"status": status}, namespace="default", subresource="status")

    async def _end(self, pod: Object, grace: float) -> None:
        await asyncio.sleep(grace)
        with contextlib.suppress(ApiError):
            await self.client.delete(PODS, name_of(pod), namespace="default", uid=uid_of(pod), grace_seconds=0)

    async def events(self, name: str) -> list[tuple[str, str, int]]:
        """Reason, message and count of the events about a pod."""
        events = (await self.client.list(EVENTS, namespace="default")).items
        return [(e["reason"], e["message"], e["count"]) for e in events if e["involvedObject"]["name"] == name]

    async def finish(self, name: str) -> None:
        """The pod's containers end well."""
        patch = {"status": {"phase": "Succeeded"}}
        await self.client.patch(PODS, name, patch, namespace="default", subresource="status")


def scenario(
    main: Callable[[Cluster], Awaitable[None]],
    settings: SchedulerSettings | None = None,
    *,
    grace: float | None = None,
    with_groups: bool = True,
) -> None:
    """Run ``main`` beside a scheduler; with ``grace`` seconds also beside the nodes' agents."""

    async def both() -> None:
        cluster = Cluster(with_groups=with_groups)
        client = Client(cluster.api.channel(cluster.faults))
        tasks = [asyncio.create_task(loop.run(client, VirtualClock(), settings or SchedulerSettings()))]
        if grace is not None:
            tasks.append(asyncio.create_task(cluster.agents(grace=grace)))
        try:
            await main(cluster)
        finally:
            await cancel(*tasks)

    virtual_time.run(both)
