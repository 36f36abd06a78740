"""What ``kubectl describe pod`` says of a pod that fits nowhere, word for word as Kubernetes 1.36 says it."""

from __future__ import annotations

from typing import Any

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


HELPLESS = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
ZONE = "topology.kubernetes.io/zone"
WEB = {"matchLabels": {"app": "web"}}


def web(name: str, **spec: Any) -> Object:
    pod = a_pod(name, **spec)
    pod["metadata"]["labels"] = {"app": "web"}
    return pod


def near(kind: str, selector: Object, key: str = ZONE) -> Object:
    term = {"topologyKey": key, "labelSelector": selector}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def spread(key: str) -> Object:
    constraint = {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}
    return {"topologySpreadConstraints": [constraint]}


def named(*names: str) -> Object:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]} for name in names]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


@pytest.mark.parametrize(
    ("pod", "reason", "outlook"),
    [
        (a_pod("p", **near("podAffinity", WEB, "rack")), "node(s) didn't match pod affinity rules", HELPLESS),
        (a_pod("p", **near("podAntiAffinity", WEB)), "node(s) didn't match pod anti-affinity rules", NO_VICTIMS),
        (
            web("p", **spread("rack")),
            "node(s) didn't match pod topology spread constraints (missing required label)",
            HELPLESS,
        ),
        (a_pod("p", **named("n8", "n9")), "node(s) didn't satisfy plugin(s) [NodeAffinity]", HELPLESS),
    ],
)
def test_what_pods_want_of_each_other_is_told_in_kubernetes_words(pod: Object, reason: str, outlook: str) -> None:
    """Words: the plugins' ErrReason constants. That missing labels and affinity are beyond preemption:
    UnschedulableAndUnresolvable in the same files."""
    message = refusal(pod, a_node("n1", labels={ZONE: "a"}), beside=web("beside"))
    assert message == f"0/1 nodes are available: 1 {reason}. preemption: 0/1 nodes are available: 1 {outlook}."


def test_a_skew_that_would_be_too_large_is_told_of_the_fuller_domain() -> None:
    """A cordoned node's zone counts as a domain all the same."""
    nodes = [a_node("n1", labels={ZONE: "a"}), a_node("n2", labels={ZONE: "b"}, unschedulable=True)]
    assert refusal(web("p", **spread(ZONE)), *nodes, beside=web("beside")) == (
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."
        f" preemption: 0/2 nodes are available: 1 {NO_VICTIMS}, 1 {HELPLESS}."
    )


def test_a_running_pods_anti_affinity_is_told_from_ones_own() -> None:
    alone = a_pod("alone", **near("podAntiAffinity", WEB))
    assert refusal(web("p"), a_node("n1", labels={ZONE: "a"}), beside=alone) == (
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
        f" preemption: 0/1 nodes are available: 1 {NO_VICTIMS}."
    )


def test_terms_that_name_no_common_node_are_a_conflict() -> None:
    both = [{"key": "metadata.name", "operator": "In", "values": [name]} for name in ("n1", "n2")]
    terms = [{"matchFields": both}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    message = refusal(a_pod("p", affinity=affinity), a_node("n1"), a_node("n2"))
    assert message.startswith("0/2 nodes are available: pod affinity terms conflict.")


def test_disks_and_network_run_out_in_the_same_words() -> None:
    wants = {"kontinuum.dev/disk-write-bps": "60M", "kontinuum.dev/network-egress-bps": "1G"}
    node = a_node("n1")
    node["status"]["allocatable"] |= {"kontinuum.dev/disk-write-bps": "100M", "kontinuum.dev/network-egress-bps": "1G"}
    message = refusal(
        a_pod("p", requests=wants), node, beside=a_pod("q", requests={"kontinuum.dev/disk-write-bps": "50M"})
    )
    assert message.startswith("0/1 nodes are available: 1 Insufficient kontinuum.dev/disk-write-bps. ")


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
