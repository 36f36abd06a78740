"""Behaviours of scheduling as cases of one real cluster: each has nodes and a namespace of its own, and sees no others.

A case is a coroutine that gets a ``Ground``. A pod of a case selects the case's nodes, so that many run side by side;
what the scheduler says of a pod counts the other cases' nodes too, which ``refused`` leaves aside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kontinuum.api.kubernetes.resources import (
    CSINODES,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    PRIORITYCLASSES,
    REPLICASETS,
    SERVICEACCOUNTS,
    STORAGECLASSES,
)
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, labels_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.hollow.nodes import HollowNodes

SECONDS = 120.0
"""How long a case waits for anything; a tenth of a second is usual."""
CASE = "case"
"""Label of a case's nodes."""
FAKE = "example.com/fakecpu"
CLASSES = {"low": 1, "middle": 100, "high": 1000}

Case = Callable[["Ground"], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Adds it to the table."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


class Ground:
    """Where one case takes place."""

    def __init__(self, client: Client, hollow: HollowNodes, name: str) -> None:
        self.client, self.name = client, name
        self._hollow = hollow

    async def prepare(self) -> None:
        """The namespace, and its service account, which the controllers make."""
        await self.client.create(NAMESPACES, {"metadata": {"name": self.name}})

        async def account() -> bool:
            try:
                return bool(await self.client.get(SERVICEACCOUNTS, "default", namespace=self.name))
            except ApiError:
                return False

        await self.until(account, "the namespace has a service account")

    async def nodes(self, *of_each: Object, taints: Sequence[Object] = ()) -> list[str]:
        """A node for each of these: ``{"zone": "a", FAKE: "5"}`` is a label and an amount."""
        names = [f"{self.name}-{number}" for number in range(1, len(of_each) + 1)]
        self._hollow.names += tuple(names)
        for name, parts in zip(names, of_each, strict=True):
            amounts = {key: text for key, text in parts.items() if key in ("cpu", "memory", "pods", FAKE)}
            labels = {key: text for key, text in parts.items() if key not in amounts} | {CASE: self.name}
            await self._hollow.register(name)
            await self.give(name, **amounts)
            await self.client.patch(NODES, name, {"metadata": {"labels": labels}, "spec": {"taints": list(taints)}})
        return names

    async def give(self, node: str, **amounts: str) -> None:
        """Change how much of everything a node has."""
        status = {"status": {"capacity": amounts, "allocatable": amounts}}
        await self.client.patch(NODES, node, status, subresource="status")

    async def pod(
        self, name: str, requests: Object | None = None, *, labels: Object | None = None, ports: Sequence[Object] = (),
        metadata: Object | None = None, select: Object | None = None, **spec: Any,
    ) -> None:  # fmt: skip
        """Create one that only this case's nodes are good for."""
        resources = {"requests": requests or {}, "limits": {k: v for k, v in (requests or {}).items() if k == FAKE}}
        container = {"name": "main", "image": "busybox", "resources": resources, "ports": list(ports)}
        where = {CASE: self.name, **(select or {})}
        grace = {"terminationGracePeriodSeconds": 0}
        await self.client.create(
            PODS,
            {
                "metadata": {"name": name, "namespace": self.name, "labels": labels or {}, **(metadata or {})},
                "spec": {"containers": [container], "nodeSelector": where, **grace, **spec},
            },
        )

    async def get(self, name: str) -> Object:
        return await self.client.get(PODS, name, namespace=self.name)

    async def runs(self, name: str, *nodes: str) -> str:
        """Wait until the pod runs, on one of ``nodes`` if any are given; which."""

        async def is_so() -> bool:
            return (await self.get(name))["status"]["phase"] == "Running"

        await self.until(is_so, f"{name} runs")
        node: str = (await self.get(name))["spec"]["nodeName"]
        assert not nodes or node in nodes, f"{name} runs on {node}"
        return node

    async def is_gone(self, name: str) -> None:
        async def is_so() -> bool:
            try:
                await self.get(name)
            except ApiError as error:
                return error.is_not_found
            return False

        await self.until(is_so, f"{name} is gone")

    async def refused(self, name: str, *reasons: str, reason: str = "Unschedulable") -> None:
        """Wait until the scheduler has said why the pod has no node: ``2 Insufficient cpu`` ..., ``(s)`` read as ``s``.

        In the first moments a new node's taints are a reason too; other cases' nodes count where they are looked at.
        """
        said: list[str] = []

        async def is_so() -> bool:
            pod = await self.get(name)
            assert not pod["spec"].get("nodeName"), f"{name} has a node"
            found = get_condition(pod, "PodScheduled") or {}
            message = found.get("message", "").replace("(s)", "s")
            said.append(message)
            return found.get("reason") == reason and all(
                re.search(rf"(^0/\d+ nodes are available: |, )({one})[.,]", message) for one in reasons
            )

        await self.until(is_so, f"{name} is refused for {reasons or reason}", said)
        if reasons:
            await self.until(lambda: self._is_told(name), f"an event tells of {name}")

    async def _is_told(self, name: str) -> bool:
        events = (await self.client.list(EVENTS, namespace=self.name, fields=f"involvedObject.name={name}")).items
        return any(one["reason"] == "FailedScheduling" and one["type"] == "Warning" for one in events)

    async def until(self, is_so: Callable[[], Awaitable[bool]], what: str, said: Sequence[str] = ()) -> None:
        """``said`` tells how far it came, where that helps."""
        try:
            async with asyncio.timeout(SECONDS):
                while not await is_so():
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise AssertionError(f"not within {SECONDS:g} s: {what} {said[-1:]}") from error


# -- what a node must have


@case
async def who_asks_for_more_than_is_left_waits(ground: Ground) -> None:
    nodes = await ground.nodes({"cpu": "4"}, {"cpu": "4"})
    for number, node in enumerate(nodes):
        await ground.pod(f"filler-{number}", {"cpu": "2800m"}, select={"kubernetes.io/hostname": node})
        await ground.runs(f"filler-{number}", node)
    await ground.pod("additional", {"cpu": "2"})
    await ground.refused("additional", "2 Insufficient cpu")
    # What helps it is noticed: a filler's end.
    await ground.client.delete(PODS, "filler-1", namespace=ground.name, grace_seconds=0)
    await ground.runs("additional", nodes[1])


@case
async def extended_resources_count_like_others(ground: Ground) -> None:
    [first, second] = await ground.nodes({FAKE: "1"}, {})
    await ground.pod("one", {FAKE: "1"})
    await ground.runs("one", first)
    await ground.pod("other", {FAKE: "2"})
    await ground.refused("other", f"2 Insufficient {FAKE}")
    await ground.give(second, **{FAKE: "2"})
    await ground.runs("other", second)


@case
async def init_containers_and_sidecars_are_counted_as_they_run(ground: Ground) -> None:
    """The largest of the init containers beside the sidecars before it, or all containers with all sidecars."""
    await ground.nodes({"cpu": "3"})

    def container(name: str, cpu: str, **more: Any) -> Object:
        return {"name": name, "image": "busybox", "resources": {"requests": {"cpu": cpu}}, **more}

    sidecar = container("sidecar", "1", restartPolicy="Always")
    await ground.pod("fits", {"cpu": "1"}, initContainers=[sidecar, container("init", "2")])
    await ground.runs("fits")
    await ground.client.delete(PODS, "fits", namespace=ground.name, grace_seconds=0)
    await ground.pod("too-large", {"cpu": "1"}, initContainers=[sidecar, container("init", "2500m")])
    await ground.refused("too-large", "1 Insufficient cpu")


# -- where a pod wants to be


@case
async def a_selector_is_kept_to(ground: Ground) -> None:
    nodes = await ground.nodes({}, {"kubernetes.io/e2e-1": "42"}, {})
    await ground.pod("with-labels", select={"kubernetes.io/e2e-1": "42"})
    await ground.runs("with-labels", nodes[1])
    await ground.pod("restricted-pod", select={"label": "nonempty"})
    await ground.refused("restricted-pod", r"\d+ nodes didn't match Pod's node affinity/selector")
    await ground.client.patch(NODES, nodes[2], {"metadata": {"labels": {"label": "nonempty"}}})
    await ground.runs("restricted-pod", nodes[2])


@case
async def node_affinity_requires_and_prefers(ground: Ground) -> None:
    nodes = await ground.nodes({"disk": "slow"}, {"disk": "fast"}, {"disk": "fast", "gpu": "1"})
    fast = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
    gpu = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [fast]}}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": gpu}]}
    for number in range(3):
        await ground.pod(f"p{number}", {"cpu": "1"}, affinity={"nodeAffinity": required | preferred})
        await ground.runs(f"p{number}", nodes[2])
    only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [nodes[0]]}]}
    one = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}}
    await ground.pod("by-name", affinity={"nodeAffinity": one})
    await ground.runs("by-name", nodes[0])


@case
async def taints_keep_away_who_does_not_tolerate_them(ground: Ground) -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    [node] = await ground.nodes({}, taints=[taint])
    await ground.pod("stranger")
    await ground.refused("stranger", r"\d+ nodes had untolerated taints")
    await ground.pod("friend", tolerations=[{**taint, "operator": "Equal"}])
    await ground.runs("friend", node)
    await ground.client.patch(NODES, node, {"spec": {"taints": None}})
    await ground.runs("stranger", node)
    await ground.client.patch(NODES, node, {"spec": {"unschedulable": True}})
    await ground.pod("late")
    await ground.refused("late", "1 nodes were unschedulable")


@case
async def ports_of_a_node_are_taken_once(ground: Ground) -> None:
    [node] = await ground.nodes({})

    def port(address: str = "", protocol: str = "TCP") -> list[Object]:
        found = {"containerPort": 8080, "hostPort": 54321, "protocol": protocol}
        return [found | ({"hostIP": address} if address else {})]

    for name, ports in (("a", port("127.0.0.1")), ("b", port("10.0.0.1")), ("c", port("127.0.0.1", "UDP"))):
        await ground.pod(name, ports=ports)
        await ground.runs(name, node)
    for name, ports in (("all", port()), ("zero", port("0.0.0.0")), ("same", port("127.0.0.1"))):
        await ground.pod(name, ports=ports)
        await ground.refused(name, "1 nodes didn't have free ports for the requested pod ports")


# -- where others are


def spread(key: str, labels: Object, when: str = "DoNotSchedule", **more: Any) -> list[Object]:
    selector = {"labelSelector": {"matchLabels": labels}}
    return [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, **selector, **more}]


@case
async def pods_are_spread_over_zones(ground: Ground) -> None:
    await ground.nodes({"zone": "a"}, {"zone": "a"}, {"zone": "b"}, {"zone": "c"})
    web = {"app": "web"}
    for number in range(6):
        await ground.pod(f"p{number}", labels=web, topologySpreadConstraints=spread("zone", web))
    nodes = [await ground.runs(f"p{number}") for number in range(6)]
    zones = [labels_of(await ground.client.get(NODES, node))["zone"] for node in nodes]
    assert sorted(zones) == ["a", "a", "b", "b", "c", "c"]
    many = {"app": "many"}
    for number in range(5):
        await ground.pod(f"q{number}", labels=many, topologySpreadConstraints=spread("zone", many, minDomains=4))
    refused = "4 nodes didn't match pod topology spread constraints"
    waiting = 0
    for number in range(5):
        await ground.until(lambda number=number: decided(ground, f"q{number}"), "decided")  # type: ignore[misc]
        waiting += not (await ground.get(f"q{number}"))["spec"].get("nodeName")
    assert waiting == 2, "as long as there are three zones where four are wanted, each has one at most"
    for number in range(5):
        if not (await ground.get(f"q{number}"))["spec"].get("nodeName"):
            await ground.refused(f"q{number}", refused)


async def decided(ground: Ground, name: str) -> bool:
    pod = await ground.get(name)
    return bool(pod["spec"].get("nodeName")) or get_condition(pod, "PodScheduled") is not None


@case
async def pods_seek_and_shun_each_other(ground: Ground) -> None:
    await ground.nodes({}, {}, {})

    def rule(kind: str, labels: Object) -> Object:
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
        return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    store, shop = {"app": "store"}, {"app": "shop"}
    for number in range(2):
        await ground.pod(f"store-{number}", labels=store, affinity=rule("podAntiAffinity", store))
    stores = {await ground.runs(f"store-{number}") for number in range(2)}
    assert len(stores) == 2
    for number in range(2):
        both = rule("podAntiAffinity", shop) | rule("podAffinity", store)
        await ground.pod(f"shop-{number}", labels=shop, affinity=both)
    assert {await ground.runs(f"shop-{number}") for number in range(2)} == stores
    await ground.pod("shop-2", labels=shop, affinity=rule("podAntiAffinity", shop) | rule("podAffinity", store))
    await ground.refused("shop-2", "2 nodes didn't match pod anti-affinity rules")


@case
async def a_volume_takes_its_pod_along(ground: Ground) -> None:
    [near, far] = await ground.nodes({"place": "near"}, {"place": "far"})
    expression = {"key": "place", "operator": "In", "values": ["far"]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    storage = {"metadata": {"name": ground.name}, "provisioner": "kubernetes.io/no-provisioner"}
    await ground.client.create(STORAGECLASSES, storage | {"volumeBindingMode": "WaitForFirstConsumer"})
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ground.name}
    source = {"local": {"path": "/data"}, "capacity": {"storage": "1Gi"}, "nodeAffinity": affinity}
    await ground.client.create(PERSISTENTVOLUMES, {"metadata": {"name": ground.name}, "spec": common | source})
    asked = {"resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "data", "namespace": ground.name}
    await ground.client.create(PERSISTENTVOLUMECLAIMS, {"metadata": metadata, "spec": common | asked})
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    await ground.pod("elsewhere", volumes=volumes, select={"place": "near"})
    await ground.refused("elsewhere", "1 nodes didn't find available persistent volumes to bind")
    await ground.pod("user", volumes=volumes)
    await ground.runs("user", far)
    assert near != far


@case
async def spreading_may_be_a_wish(ground: Ground) -> None:
    await ground.nodes({"zone": "a"}, {"zone": "b", "pods": "2"})
    web = {"app": "web"}
    for number in range(5):
        await ground.pod(f"p{number}", labels=web, topologySpreadConstraints=spread("zone", web, "ScheduleAnyway"))
    nodes = [await ground.runs(f"p{number}") for number in range(5)]
    assert sorted(nodes.count(node) for node in set(nodes)) == [2, 3], "one zone is full, and nobody waits for it"


@case
async def an_image_that_is_there_need_not_come(ground: Ground) -> None:
    nodes = await ground.nodes({}, {})
    # So large that it counts, though of all nodes of the cluster one alone has it.
    images = [{"names": ["example.com/large:1"], "sizeBytes": 10**12}]
    await ground.client.patch(NODES, nodes[1], {"status": {"images": images}}, subresource="status")
    # Who has heard of the last of these labels has heard of the image.
    for node in reversed(nodes):
        await ground.client.patch(NODES, node, {"metadata": {"labels": {"is": "ready"}}})
    for number in range(2):
        containers = [{"name": "main", "image": "example.com/large:1"}]
        await ground.pod(f"p{number}", select={"is": "ready"}, containers=containers)
        await ground.runs(f"p{number}", nodes[1])


async def claimed(ground: Ground, name: str, labels: Object | None = None) -> list[Object]:
    """A volume of a CSI driver, claimed, as the volumes of a pod."""
    unique = f"{ground.name}-{name}"
    source = {"csi": {"driver": "csi.example.com", "volumeHandle": unique}, "capacity": {"storage": "1Gi"}}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", **source}
    reference = {"claimRef": {"namespace": ground.name, "name": name}}
    await ground.client.create(
        PERSISTENTVOLUMES, {"metadata": {"name": unique, "labels": labels or {}}, "spec": common | reference}
    )
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": unique}
    spec |= {"resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": ground.name}
    await ground.client.create(PERSISTENTVOLUMECLAIMS, {"metadata": metadata, "spec": spec})

    async def is_bound() -> bool:
        found = await ground.client.get(PERSISTENTVOLUMECLAIMS, name, namespace=ground.name)
        return found["status"].get("phase") == "Bound"

    await ground.until(is_bound, f"{name} is bound")
    return [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]


@case
async def a_node_takes_so_many_volumes_of_a_driver(ground: Ground) -> None:
    driver = {"name": "csi.example.com", "nodeID": ground.name, "allocatable": {"count": 1}}
    await ground.client.create(CSINODES, {"metadata": {"name": f"{ground.name}-1"}, "spec": {"drivers": [driver]}})
    await ground.nodes({})
    await ground.pod("first", volumes=await claimed(ground, "one"))
    await ground.runs("first")
    await ground.pod("second", volumes=await claimed(ground, "two"))
    await ground.refused("second", "1 nodes exceed max volume count")
    await ground.client.delete(PODS, "first", namespace=ground.name, grace_seconds=0)
    await ground.runs("second")


@case
async def a_volume_of_a_zone_is_used_there(ground: Ground) -> None:
    zone = "topology.kubernetes.io/zone"
    [here, _] = await ground.nodes({zone: "here"}, {zone: "there"})
    volumes = await claimed(ground, "data", {zone: "here"})
    await ground.pod("elsewhere", volumes=volumes, select={zone: "there"})
    await ground.refused("elsewhere", "1 nodes had no available volume zone")
    await ground.pod("user", volumes=volumes)
    await ground.runs("user", here)


# -- who is scheduled together


@case
async def a_group_is_placed_whole_or_not_at_all(ground: Ground) -> None:
    await ground.nodes({FAKE: "2"}, {FAKE: "2"})

    async def member(group: str, number: int) -> None:
        labels = {"pod-group.scheduling.sigs.k8s.io/name": group}
        labels |= {"pod-group.scheduling.sigs.k8s.io/min-available": "3"}
        await ground.pod(f"{group}-{number}", {FAKE: "1"}, labels=labels)

    for number in range(2):
        await member("first", number)
    for number in range(2):
        await ground.refused(f"first-{number}", f"pre-filter pod first-{number} cannot find enough sibling pods")
    await member("first", 2)
    for number in range(3):
        await ground.runs(f"first-{number}")
    for number in range(3):
        await member("second", number)
    # There is room for one of them.
    await ground.refused("second-2", f"2 Insufficient {FAKE}|PodGroup {ground.name}/second gets rejected .*")
    assert not any([(await ground.get(f"second-{number}"))["spec"].get("nodeName") for number in range(3)])
    await ground.client.delete(PODS, "first-0", namespace=ground.name, grace_seconds=0)
    await ground.client.delete(PODS, "first-1", namespace=ground.name, grace_seconds=0)
    for number in range(3):
        await ground.runs(f"second-{number}")


# -- when a pod may be scheduled at all


@case
async def a_gated_pod_waits_until_its_gates_are_gone(ground: Ground) -> None:
    await ground.nodes({})
    await ground.pod("gated", schedulingGates=[{"name": "example.com/a"}, {"name": "example.com/b"}])
    await ground.refused("gated", reason="SchedulingGated")
    await ground.client.patch(PODS, "gated", {"spec": {"schedulingGates": [{"name": "example.com/a"}]}},
                              namespace=ground.name)  # fmt: skip
    await ground.refused("gated", reason="SchedulingGated")
    await ground.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, namespace=ground.name)
    await ground.runs("gated")


# -- who makes way for whom


async def taken(ground: Ground) -> list[str]:
    """Three nodes: one has a pod of low priority, two have one of middle priority, each with most of a resource."""
    nodes = await ground.nodes(*({FAKE: "5"} for _ in range(3)))
    for number, (node, kind) in enumerate(zip(nodes, ("low", "middle", "middle"), strict=True)):
        where = {"kubernetes.io/hostname": node}
        await ground.pod(f"{kind}-{number}", {FAKE: "3"}, priorityClassName=kind, select=where)
        await ground.runs(f"{kind}-{number}", node)
    return nodes


@case
async def the_less_important_makes_way(ground: Ground) -> None:
    nodes = await taken(ground)
    await ground.pod("preemptor", {FAKE: "3"}, priorityClassName="high")
    await ground.runs("preemptor", nodes[0])
    await ground.is_gone("low-0")
    await ground.runs("middle-1", nodes[1])
    await ground.runs("middle-2", nodes[2])


@case
async def the_critical_makes_others_way(ground: Ground) -> None:
    nodes = await taken(ground)
    await ground.pod("critical", {FAKE: "3"}, priorityClassName="system-cluster-critical")
    await ground.runs("critical", nodes[0])
    assert (await ground.get("critical"))["spec"]["priority"] == 2_000_000_000
    await ground.is_gone("low-0")


@case
async def who_must_not_preempt_waits(ground: Ground) -> None:
    await taken(ground)
    await ground.pod("polite", {FAKE: "3"}, priorityClassName="polite")
    await ground.refused("polite", f"3 Insufficient {FAKE}")
    await ground.runs("low-0")


@case
async def a_victim_says_why_it_ends_and_its_place_is_kept(ground: Ground) -> None:
    [node] = await ground.nodes({FAKE: "1"})
    finalizers = {"finalizers": ["example.com/test-finalizer"]}
    await ground.pod("victim", {FAKE: "1"}, priorityClassName="low", metadata=finalizers)
    await ground.runs("victim")
    await ground.pod("preemptor", {FAKE: "1"}, priorityClassName="high")

    async def is_leaving() -> bool:
        return "deletionTimestamp" in (await ground.get("victim"))["metadata"]

    async def is_nominated() -> bool:
        return (await ground.get("preemptor"))["status"].get("nominatedNodeName") == node

    await ground.until(is_leaving, "the victim is deleted")
    condition = get_condition(await ground.get("victim"), "DisruptionTarget") or {}
    assert (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")
    await ground.until(is_nominated, "the place is kept")
    await ground.client.patch(PODS, "victim", {"metadata": {"finalizers": None}}, namespace=ground.name)
    await ground.is_gone("victim")
    await ground.runs("preemptor", node)


@case
async def budgets_protect_those_who_would_make_way(ground: Ground) -> None:
    nodes = await ground.nodes({FAKE: "1"}, {FAKE: "1"})
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}
    metadata = {"name": "kept", "namespace": ground.name}
    await ground.client.create(PODDISRUPTIONBUDGETS, {"metadata": metadata, "spec": budget})
    for name, node, low in (("kept", nodes[0], "low"), ("free", nodes[1], "middle")):
        where = {"kubernetes.io/hostname": node}
        await ground.pod(name, {FAKE: "1"}, labels={"app": name}, priorityClassName=low, select=where)
        await ground.runs(name)

    async def is_counted() -> bool:
        found = await ground.client.get(PODDISRUPTIONBUDGETS, "kept", namespace=ground.name)
        return found["status"].get("currentHealthy") == 1 and found["status"].get("disruptionsAllowed") == 0

    await ground.until(is_counted, "the budget is counted")
    # It would cost less to disturb the one of low priority, but not its budget.
    await ground.pod("preemptor", {FAKE: "1"}, priorityClassName="high")
    await ground.runs("preemptor", nodes[1])
    await ground.runs("kept", nodes[0])


@case
async def the_most_important_sets_end_whole(ground: Ground) -> None:
    [node] = await ground.nodes({FAKE: "1000"})
    for number, (name, amount) in enumerate((("pod1", 200), ("pod2", 300), ("pod3", 450), ("pod4", 500)), 1):
        resources = {"requests": {FAKE: str(amount)}, "limits": {FAKE: str(amount)}}
        spec = {
            "containers": [{"name": "main", "image": "busybox", "resources": resources}],
            "nodeSelector": {CASE: ground.name}, "priorityClassName": f"step-{number}",
            "terminationGracePeriodSeconds": 0,
        }  # fmt: skip
        template = {"metadata": {"labels": {"name": name}}, "spec": spec}
        wanted = {"replicas": 1, "selector": {"matchLabels": {"name": name}}, "template": template}
        metadata = {"name": name, "namespace": ground.name}
        await ground.client.create(REPLICASETS, {"metadata": metadata, "spec": wanted})
        if number < 4:
            await ground.until(lambda name=name: bound(ground, name), f"{name} has a node")  # type: ignore[misc]

    async def is_settled() -> bool:
        """The least important whose room is enough make way; their sets make others, which wait."""
        pods = (await ground.client.list(PODS, namespace=ground.name)).items
        alive = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        there = {labels_of(one)["name"]: one["spec"].get("nodeName") for one in alive}
        return there == {"pod1": None, "pod2": None, "pod3": node, "pod4": node}

    await ground.until(is_settled, "the most important ones have the node")


async def bound(ground: Ground, name: str) -> bool:
    pods = (await ground.client.list(PODS, namespace=ground.name, labels=f"name={name}")).items
    return any(one["spec"].get("nodeName") for one in pods)


async def make_classes(client: Client) -> None:
    """The priorities that pods of cases have."""
    await client.create(
        PRIORITYCLASSES, {"metadata": {"name": "polite"}, "value": 1000, "preemptionPolicy": "Never"}
    )  # fmt: skip
    for name, value in {**CLASSES, **{f"step-{number}": number for number in range(1, 5)}}.items():
        await client.create(PRIORITYCLASSES, {"metadata": {"name": name}, "value": value})
