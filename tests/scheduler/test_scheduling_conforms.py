"""The conformance behaviours of scheduling, step by step as Kubernetes' own tests take them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.scheduler.cluster import Cluster, a_node, a_pod, scenario

from kontinuum.api.kubernetes.resources import NODES, PODS, REPLICASETS
from kontinuum.api.machinery.objects import Object
from kontinuum.controllers import manager
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel

CRITICAL = 2_000_000_000
"""The value of the priority class ``system-cluster-critical``."""
EXAMPLE = "example_com__fakecpu"


def with_port(name: str, address: str, node: str, port: int = 54322) -> Object:
    container = {"name": "main", "ports": [{"containerPort": 8080, "hostPort": port, "hostIP": address}]}
    if not address:
        del container["ports"][0]["hostIP"]  # type: ignore[attr-defined]
    return a_pod(name, containers=[container], nodeSelector={"kubernetes.io/hostname": node})


@pytest.mark.behaviour("SchedulerPredicates validates resource limits of pods that are allowed to run")
def test_a_pod_that_asks_for_more_than_is_left_is_not_scheduled() -> None:
    async def main(cluster: Cluster) -> None:
        nodes = ("n1", "n2", "n3")
        await cluster.create(*(a_node(name, cpu="4") for name in nodes))
        fillers = [
            a_pod(f"filler-{name}", requests={"cpu": "2800m"}, nodeSelector={"kubernetes.io/hostname": name})
            for name in nodes
        ]
        await cluster.create(*fillers)
        await asyncio.sleep(5)
        assert cluster.nodes_of(*(f"filler-{name}" for name in nodes)) == list(nodes)
        await cluster.create(a_pod("additional", requests={"cpu": "2"}))
        await asyncio.sleep(30)
        assert cluster.nodes_of("additional") == [""]
        [(reason, message, _)] = await cluster.events("additional")
        assert reason == "FailedScheduling" and message.startswith("0/3 nodes are available: 3 Insufficient cpu.")

    scenario(main, grace=0)


@pytest.mark.behaviour("SchedulerPredicates validates that NodeSelector is respected if matching")
def test_a_pod_goes_to_the_node_that_it_selects() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(*(a_node(f"n{number}") for number in range(5)))
        await cluster.client.patch(NODES, "n3", {"metadata": {"labels": {"kubernetes.io/e2e-1": "42"}}})
        await asyncio.sleep(1)
        await cluster.create(a_pod("with-labels", nodeSelector={"kubernetes.io/e2e-1": "42"}))
        await asyncio.sleep(5)
        assert cluster.nodes_of("with-labels") == ["n3"]

    scenario(main, grace=0)


@pytest.mark.behaviour("SchedulerPredicates validates that NodeSelector is respected if not matching")
def test_a_pod_that_selects_no_node_is_not_scheduled() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(*(a_node(f"n{number}") for number in range(5)))
        await cluster.create(a_pod("restricted-pod", nodeSelector={"label": "nonempty"}))
        await asyncio.sleep(30)
        assert cluster.nodes_of("restricted-pod") == [""]
        [(reason, message, _)] = await cluster.events("restricted-pod")
        assert reason == "FailedScheduling"
        assert message.startswith("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.")

    scenario(main, grace=0)


@pytest.mark.behaviour(
    "SchedulerPredicates validates that there exists conflict between pods with same hostPort and protocol"
    " but one using 0.0.0.0 hostIP"
)
@pytest.mark.parametrize(("first", "second"), [("", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")])
def test_a_port_of_all_addresses_is_taken_on_each(first: str, second: str) -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"), a_node("n2"), with_port("pod4", first, "n1"))
        await asyncio.sleep(5)
        assert cluster.nodes_of("pod4") == ["n1"]
        await cluster.create(with_port("pod5", second, "n1"))
        await asyncio.sleep(30)
        assert cluster.nodes_of("pod5") == [""]

    scenario(main, grace=0)


async def two_thirds_taken(cluster: Cluster) -> None:
    """One pod of low and two of middle priority take five fifths of what each node has of a resource."""
    await cluster.create(*(a_node(f"n{number}", **{EXAMPLE: "5"}) for number in range(3)))
    for number in range(3):
        where = {"kubernetes.io/hostname": f"n{number}"}
        pods = [("low", 1, "3")] if number == 0 else [("middle", 100, "3")]
        for kind, priority, amount in pods:
            requests = {"example.com/fakecpu": amount}
            await cluster.create(a_pod(f"{kind}-{number}", requests=requests, priority=priority, nodeSelector=where))
    await asyncio.sleep(5)
    assert cluster.nodes_of("low-0", "middle-1", "middle-2") == ["n0", "n1", "n2"]


@pytest.mark.behaviour("SchedulerPreemption validates basic preemption works")
def test_a_pod_of_high_priority_preempts_the_one_of_low_priority() -> None:
    async def main(cluster: Cluster) -> None:
        await two_thirds_taken(cluster)
        await cluster.create(a_pod("preemptor", requests={"example.com/fakecpu": "3"}, priority=1000))
        await asyncio.sleep(30)
        assert cluster.nodes_of("preemptor", "low-0", "middle-1", "middle-2") == ["n0", "gone", "n1", "n2"]

    scenario(main, grace=1)


@pytest.mark.behaviour("SchedulerPreemption validates lower priority pod preemption by critical pod")
def test_a_critical_pod_preempts() -> None:
    async def main(cluster: Cluster) -> None:
        await two_thirds_taken(cluster)
        await cluster.create(
            a_pod("critical-pod", requests={"example.com/fakecpu": "3"}, priority=CRITICAL)
        )  # fmt: skip
        await asyncio.sleep(30)
        assert cluster.nodes_of("critical-pod", "low-0", "middle-1", "middle-2") == ["n0", "gone", "n1", "n2"]

    scenario(main, grace=1)


@pytest.mark.behaviour("SchedulerPreemption validates pod disruption condition is added to the preempted pod")
def test_a_preempted_pod_says_why_it_ends_for_as_long_as_it_is_there() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", **{EXAMPLE: "1"}))
        victim = a_pod("victim-pod", requests={"example.com/fakecpu": "1"}, priority=1)
        victim["metadata"]["finalizers"] = ["example.com/test-finalizer"]
        await cluster.create(victim)
        await asyncio.sleep(5)
        assert cluster.nodes_of("victim-pod") == ["n1"]
        await cluster.create(a_pod("preemptor-pod", requests={"example.com/fakecpu": "1"}, priority=1000))
        await asyncio.sleep(30)
        found = await cluster.pod("victim-pod")
        assert "deletionTimestamp" in found["metadata"]
        condition = await cluster.condition("victim-pod", "DisruptionTarget")
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        await cluster.client.patch(PODS, "victim-pod", {"metadata": {"finalizers": None}}, namespace="default")
        await asyncio.sleep(30)
        assert cluster.nodes_of("victim-pod", "preemptor-pod") == ["gone", "n1"]

    scenario(main, grace=1)


def replica_set(name: str, replicas: int, priority: int, amount: str) -> Object:
    container = {"name": "main", "resources": {"requests": {"example.com/fakecpu": amount}}}
    spec: Any = {
        "containers": [container], "priority": priority, "schedulerName": "default-scheduler",
        "nodeSelector": {"kubernetes.io/hostname": "n1"},
    }  # fmt: skip
    labels = {"name": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@pytest.mark.behaviour(
    "SchedulerPreemption PreemptionExecutionPath runs ReplicaSets to verify preemption running path"
)  # fmt: skip
def test_replica_sets_of_four_priorities_end_with_the_most_important_ones_whole() -> None:
    async def main(cluster: Cluster) -> None:
        managing = asyncio.create_task(
            manager.run(cluster.api.client(), VirtualClock(), ControllersSettings(enabled=("replicaset",)))
        )
        try:
            await cluster.create(a_node("n1", **{EXAMPLE: "1000"}), a_node("n2", **{EXAMPLE: "1000"}))
            sets = (("pod1", 1, 1, "200"), ("pod2", 1, 2, "300"), ("pod3", 1, 3, "450"))
            for name, replicas, priority, amount in sets:
                await cluster.client.create(REPLICASETS, replica_set(name, replicas, priority, amount))
            await asyncio.sleep(30)
            assert bound(cluster) == ["pod1", "pod2", "pod3"]
            await cluster.client.create(REPLICASETS, replica_set("pod4", 1, 4, "500"))
            await asyncio.sleep(120)
            # The least important ones whose room is enough make way; their ReplicaSets make others, which wait.
            assert bound(cluster) == ["pod3", "pod4"]
            waiting = [pod for pod in cluster.pods() if not pod["spec"].get("nodeName")]
            assert sorted(pod["metadata"]["labels"]["name"] for pod in waiting) == ["pod1", "pod2"]
        finally:
            await cancel(managing)

    scenario(main, grace=1)


def bound(cluster: Cluster) -> list[str]:
    return sorted(pod["metadata"]["labels"]["name"] for pod in cluster.pods() if pod["spec"].get("nodeName"))
