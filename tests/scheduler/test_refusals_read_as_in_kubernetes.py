"""What ``kubectl describe pod`` says of a pod that fits nowhere, word for word as Kubernetes 1.36 says it."""

from __future__ import annotations

import pytest
from tests.scheduler.cluster import a_node, a_pod

from kontinuum.api.machinery.objects import Object
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.place import Refusal, place
from kontinuum.scheduler.snapshot import Snapshot

GPU = "example.com/gpu"
TAINT = {"key": "dedicated", "value": "database", "effect": "NoExecute"}


def refusal(pod: Object, *nodes: Object, beside: Object | None = None) -> str:
    """The message; ``beside`` is a pod that runs on the first node."""
    snapshot = Snapshot()
    for node in nodes:
        snapshot.set_node(node)
    if beside is not None:
        snapshot.add_pod("beside", read_demand(beside), nodes[0]["metadata"]["name"])
    decision = place(read_demand(pod), snapshot)
    assert isinstance(decision, Refusal)
    return decision.message


@pytest.mark.parametrize(
    ("pod", "nodes", "message"),
    [
        pytest.param(
            a_pod("p", requests={"cpu": "3", "memory": "8Gi"}),
            [a_node("n1"), a_node("n2", cpu="4")],
            "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory."
            " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
            id="a node may lack two things, and is counted for both",
        ),
        pytest.param(
            a_pod("p", requests={GPU: "1"}),
            [a_node("n1")],
            "0/1 nodes are available: 1 Insufficient example.com/gpu."
            " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            id="a resource that no node has",
        ),
        pytest.param(
            a_pod("p", nodeSelector={"disk": "ssd"}),
            [a_node("n1"), a_node("n2", unschedulable=True), a_node("n3", taints=[TAINT])],
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector,"
            " 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
            " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            id="each node says the first reason it has",
        ),
        pytest.param(
            a_pod("p", nodeName="n9"),
            [a_node("n1")],
            "0/1 nodes are available: 1 node(s) didn't match the requested node name."
            " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            id="a node that is not there",
        ),
        pytest.param(a_pod("p"), [], "no nodes available to schedule pods", id="no node at all"),
    ],
)
def test_the_reason_is_in_kubernetes_words(pod: Object, nodes: list[Object], message: str) -> None:
    assert refusal(pod, *nodes) == message


def test_room_that_others_took_is_told_from_room_that_was_never_there() -> None:
    small, full = a_node("n2", cpu="1"), a_node("n1", cpu="2")
    message = refusal(a_pod("p", requests={"cpu": "2"}), full, small, beside=a_pod("q", requests={"cpu": "500m"}))
    assert message == (
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available:"
        " 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )


def test_pod_slots_and_host_ports_run_out_too() -> None:
    assert refusal(a_pod("p"), a_node("n1", pods="1"), beside=a_pod("q")).startswith(
        "0/1 nodes are available: 1 Too many pods. preemption: "
    )
    web = [{"name": "web", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    assert refusal(a_pod("p", containers=web), a_node("n1"), beside=a_pod("q", containers=web)) == (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
        " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_a_pod_that_never_preempts_is_told_so() -> None:
    assert refusal(a_pod("p", requests={"cpu": "9"}, preemptionPolicy="Never"), a_node("n1")) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )
