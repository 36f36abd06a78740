"""A pod that fits nowhere is looked at again when something that matters to it happens, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.scheduler.cluster import Cluster, a_node, a_pod, labelled, scenario

from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.api.machinery.objects import Object

TAINT = {"key": "dedicated", "value": "database", "effect": "NoSchedule"}
PORT = [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}]
Step = Callable[[Cluster], Awaitable[object]]


def node(**patch: Object) -> Step:
    return lambda cluster: cluster.client.patch(NODES, "n1", dict(patch))


def allocatable(**amounts: str) -> Step:
    return lambda cluster: cluster.client.patch(
        NODES, "n1", {"status": {"allocatable": amounts}}, subresource="status"
    )  # fmt: skip


def gone(name: str) -> Step:
    return lambda cluster: cluster.client.delete(PODS, name, namespace="default", grace_seconds=0)


def pod(**patch: Object) -> Step:
    return lambda cluster: cluster.client.patch(PODS, "waiter", dict(patch), namespace="default")


def come(*objects: Object) -> Step:
    return lambda cluster: cluster.create(*objects)


def term(**labels: str) -> list[Object]:
    return [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}]


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

CASES = [
    pytest.param(
        a_pod("waiter", requests={"cpu": "3"}),
        [
            node(metadata={"labels": {"a": "b"}}),
            node(spec={"taints": [{**TAINT, "effect": "PreferNoSchedule"}]}),
            allocatable(memory="64Gi"),
            come(a_pod("more", nodeName="n1")),
            gone("holder"),  # two are free then, and three are asked for
            come(a_node("n2", cpu="2")),
        ],
        allocatable(cpu="3"),
        id="room",
    ),
    pytest.param(
        a_pod("waiter", containers=PORT),
        [gone("beside"), come(a_pod("more", nodeName="n1")), gone("holder")],
        gone("web"),
        id="a port",
    ),
    pytest.param(
        a_pod("waiter", nodeSelector={"disk": "ssd"}),
        [
            gone("holder"),
            come(a_pod("more")),
            allocatable(cpu="64"),
            node(metadata={"labels": {"disk": "hdd"}}),
            come(a_node("n2")),
        ],
        node(metadata={"labels": {"disk": "ssd"}}),
        id="a label",
    ),
    pytest.param(
        a_pod("waiter", affinity={"podAffinity": {REQUIRED: term(app="database")}}),
        [come(labelled(a_pod("more", nodeName="n1"), app="web")), gone("holder"), node(spec={"unschedulable": False})],
        come(labelled(a_pod("database", nodeName="n1"), app="database")),
        id="a pod to be near",
    ),
    pytest.param(
        a_pod("waiter", affinity={"podAntiAffinity": {REQUIRED: term(app="web")}}),
        [gone("holder"), come(labelled(a_pod("more", nodeName="n1"), app="other"))],
        gone("web"),
        id="a pod to be away from",
    ),
    pytest.param(
        a_pod("waiter", nodeSelector={"disk": "ssd"}),
        [pod(metadata={"annotations": {"a": "b"}})],
        pod(spec={"nodeSelector": None}),
        id="the pod itself",
    ),
]


@pytest.mark.parametrize(("waiter", "vain", "helpful"), CASES)
def test_only_what_can_help_is_a_reason_to_try_again(waiter: Object, vain: list[Step], helpful: Step) -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"), a_pod("holder", requests={"cpu": "1"}, nodeName="n1"))
        await cluster.create(labelled(a_pod("web", containers=PORT, nodeName="n1"), app="web"))
        await cluster.create(a_pod("beside", nodeName="n1"))
        await asyncio.sleep(1)
        await cluster.create(waiter)
        await asyncio.sleep(20)
        for step in vain:
            await step(cluster)
            await asyncio.sleep(20)
        attempts = sum(count for reason, _, count in await cluster.events("waiter") if reason == "FailedScheduling")
        assert attempts == 1
        await helpful(cluster)
        await asyncio.sleep(20)
        assert cluster.nodes_of("waiter") == ["n1"]

    scenario(main)


def test_room_that_a_resize_frees_is_taken_once_the_node_has_granted_it() -> None:
    """First comes the smaller wish, which frees nothing yet; then the status, in which nothing is larger any more."""

    def asking(cpu: str) -> list[Object]:
        return [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}]

    def granted(cpu: str) -> Object:
        status = {"name": "main", "resources": {"requests": {"cpu": cpu}}, "allocatedResources": {"cpu": cpu}}
        return {"status": {"containerStatuses": [status]}}

    async def main(cluster: Cluster) -> None:
        client = cluster.client
        await cluster.create(a_node("n1", cpu="4"), a_pod("large", requests={"cpu": "3"}, nodeName="n1"))
        await client.patch(PODS, "large", granted("3"), namespace="default", subresource="status")
        await cluster.create(a_pod("waiter", requests={"cpu": "2"}))
        await asyncio.sleep(20)
        await client.patch(PODS, "large", {"spec": {"containers": asking("1")}}, namespace="default")
        await asyncio.sleep(20)
        assert cluster.nodes_of("waiter") == [""]
        await client.patch(PODS, "large", granted("1"), namespace="default", subresource="status")
        await asyncio.sleep(20)
        assert cluster.nodes_of("waiter") == ["n1"]

    scenario(main)


def test_after_five_minutes_a_pod_is_looked_at_in_any_case() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("waiter", requests={"cpu": "2"}))
        await asyncio.sleep(299)
        assert [count for *_, count in await cluster.events("waiter")] == [1]
        await asyncio.sleep(5)
        assert [count for *_, count in await cluster.events("waiter")] == [2]

    scenario(main)


def test_pods_that_are_alike_are_all_tried_again() -> None:
    async def main(cluster: Cluster) -> None:
        pods = [labelled(a_pod(f"web-{number}", requests={"cpu": "1"}), app="web") for number in range(6)]
        await cluster.create(a_node("n1", cpu="500m"), *pods)
        await asyncio.sleep(20)
        await cluster.create(a_node("n2", cpu="4"))
        await asyncio.sleep(20)
        nodes = cluster.nodes_of(*(f"web-{number}" for number in range(6)))
        assert sorted(nodes) == ["", "", "n2", "n2", "n2", "n2"]

    scenario(main)


def test_in_a_settled_cluster_nothing_is_written() -> None:
    """Also where somebody waits: an event each five minutes says so, as in Kubernetes, and nothing else."""

    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"), a_pod("web"), a_pod("large", requests={"cpu": "9"}))
        await asyncio.sleep(30)
        before = len(cluster.faults.writes)
        await asyncio.sleep(3600)
        writes = cluster.faults.writes[before:]
        assert {request.method for request in writes if "/events/" in request.path} == {"PATCH"}
        assert len(writes) == len([one for one in writes if "/events/" in one.path]) == 12

    scenario(main, grace=1)
