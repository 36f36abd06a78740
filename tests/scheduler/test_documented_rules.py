"""Rules of Kubernetes' documentation, as they are told there: each with its source, and with numbers worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scheduler.cluster import a_node, a_pod

from kontinuum.api.machinery.objects import Object
from kontinuum.scheduler.amounts import pod_requests
from kontinuum.scheduler.demand import read_demand, tagged
from kontinuum.scheduler.evaluation import DEFAULT, KEPT_ROWS, LEAST_KEPT, Plugins, evaluation
from kontinuum.scheduler.place import Placement, Refusal, Run, place
from kontinuum.scheduler.reading import trim_node, trim_pod, what_counts
from kontinuum.scheduler.scores import Score, balance, images, room, spread
from kontinuum.scheduler.snapshot import Snapshot

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
WEB = {"matchLabels": {"app": "web"}}


def in_a_run(pod: Object, pods: int, snapshot: Snapshot) -> list[str]:
    """The nodes of so many pods like this one, as far as they fit."""
    run, nodes = Run(read_demand(pod), snapshot), []
    for uid in range(pods):
        if (placement := run.place()) is not None:
            snapshot.add_pod(str(uid), run.demand, placement.node)
            nodes.append(placement.node)
    return nodes


def web(name: str = "web", **spec: Any) -> Object:
    pod = a_pod(name, **spec)
    pod["metadata"]["labels"] = {"app": "web"}
    return pod


def cluster(*nodes: Object) -> Snapshot:
    snapshot = Snapshot()
    for node in nodes:
        snapshot.set_node(trim_node(node))
    return snapshot


def zones(*of_nodes: str) -> Snapshot:
    """One node in each of these zones, n1, n2, ..."""
    return cluster(*(a_node(f"n{n}", labels={ZONE: zone}) for n, zone in enumerate(of_nodes, 1)))


def add(snapshot: Snapshot, pod: Object, node: str, count: int = 1) -> None:
    for number in range(count):
        snapshot.add_pod(f"{pod['metadata']['name']}-{node}-{number}", read_demand(pod), node)


def where(pod: Object, snapshot: Snapshot) -> str | None:
    """The node, or None."""
    decision = place(read_demand(pod), snapshot)
    return decision.node if isinstance(decision, Placement) else None


def points(score: Score, pod: Object, snapshot: Snapshot) -> list[int]:
    """Of n1, n2, ..."""
    of_rows = score.points(read_demand(pod), snapshot, snapshot.alive)
    return [int(of_rows[snapshot.row_of[name]]) for name in sorted(snapshot.row_of)]


def hard(key: str = ZONE, **more: Any) -> Object:
    constraint = {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB, **more}
    return {"topologySpreadConstraints": [constraint]}


def affinity(kind: str, *terms: Object) -> Object:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def test_the_first_pod_of_a_group_need_not_wait_for_itself() -> None:
    """assign-pod-node: "If the current Pod is the first in a series that have affinity to themselves, it is allowed
    to be scheduled if it passes all other affinity checks"."""
    snapshot = zones("a", "b")
    term = {"topologyKey": ZONE, "labelSelector": WEB}
    assert where(a_pod("stranger", **affinity("podAffinity", term)), snapshot) is None
    assert in_a_run(web(**affinity("podAffinity", term)), 3, snapshot) == ["n1"] * 3


def test_an_affinity_term_without_a_namespace_is_about_ones_own() -> None:
    """assign-pod-node, Namespaces: "If omitted or empty, namespaces defaults to the namespace of the Pod"; a
    namespaceSelector that is empty selects all."""
    snapshot = zones("a")
    snapshot.set_namespace({"metadata": {"name": "other", "labels": {"team": "x"}}})
    stranger = web()
    stranger["metadata"]["namespace"] = "other"
    add(snapshot, stranger, "n1")
    term = {"topologyKey": ZONE, "labelSelector": WEB}
    for more, fits in (
        ({}, False),
        ({"namespaces": ["other"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, False),
    ):
        assert (where(a_pod("p", **affinity("podAffinity", term | more)), snapshot) is not None) is fits, more


def test_a_spread_pod_goes_where_the_skew_allows_it() -> None:
    """topology-spread-constraints, Example: one constraint. Zones with 2 and 1 pods: only the second will do."""
    snapshot = zones("a", "a", "b", "b")
    add(snapshot, web(), "n1", 2)
    add(snapshot, web(), "n3")
    assert where(web("p", **hard()), snapshot) in ("n3", "n4")
    # A pod that is not of the kind does not add to it: (2 + 0) - 1 is no more than 1.
    other = place(read_demand(a_pod("p", **hard())), snapshot)
    assert isinstance(other, Placement)


def test_too_few_domains_count_as_an_empty_one() -> None:
    """topology-spread-constraints, minDomains: "when the number of eligible domains with match topology keys is less
    than minDomains, Pod topology spread treats global minimum as 0"."""
    snapshot = zones("a", "b")
    for node in ("n1", "n2"):
        add(snapshot, web(), node)
    assert where(web("p", **hard(minDomains=2)), snapshot) is not None
    assert where(web("p", **hard(minDomains=3)), snapshot) is None


def test_tainted_nodes_count_as_domains_unless_taints_are_honoured() -> None:
    """topology-spread-constraints, nodeTaintsPolicy: Ignore is the default."""
    snapshot = cluster(
        a_node("n1", labels={ZONE: "a"}),
        a_node("n2", labels={ZONE: "b"}, taints=[{"key": "k", "effect": "NoSchedule"}]),
    )
    add(snapshot, web(), "n1")
    assert where(web("p", **hard()), snapshot) is None
    assert where(web("p", **hard(nodeTaintsPolicy="Honor")), snapshot) == "n1"


def test_pods_that_are_being_deleted_are_not_counted_for_spreading() -> None:
    """kubernetes/kubernetes#87621."""
    snapshot = zones("a", "b")
    going = web()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add(snapshot, going, "n1", 3)
    assert where(web("p", **hard()), snapshot) is not None


def test_match_label_keys_spread_each_revision_by_itself() -> None:
    """topology-spread-constraints, matchLabelKeys; the API server of 1.36 merges them, older ones do not."""
    snapshot = zones("a", "b")
    old = web()
    old["metadata"]["labels"] |= {"pod-template-hash": "1"}
    add(snapshot, old, "n1", 3)
    new = web("p", **hard(matchLabelKeys=["pod-template-hash"]))
    new["metadata"]["labels"] |= {"pod-template-hash": "2"}
    assert sorted(in_a_run(new, 2, snapshot)) == ["n1", "n2"]


def test_pods_of_one_service_are_spread_by_default() -> None:
    """topology-spread-constraints, Internal default constraints: hosts with maxSkew 3, zones with maxSkew 5, softly."""
    snapshot = zones("a", "b")
    add(snapshot, web(), "n1", 4)
    assert points(spread.SCORE, web("p"), snapshot) == [0, 0]
    service = {
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"selector": {"app": "web"}},
    }
    snapshot.selecting.put(service)
    # n1: 4 ln(2+2) + 2 for hosts, 4 ln(2+2) + 4 for zones = 17; n2: 2 + 4 = 6. 100 (17 + 6 - 17) / 17 = 35.
    assert points(spread.SCORE, web("p"), snapshot) == [35, 100]
    assert where(web("p"), snapshot) == "n2"
    snapshot.selecting.remove(service)
    assert points(spread.SCORE, web("p"), snapshot) == [0, 0]


def test_room_is_whole_percents_of_what_is_left() -> None:
    """NodeResourcesFit LeastAllocated: (capacity - used) * 100 / capacity in whole numbers, then their mean. 29 of 100
    free is 29, which a quotient of floating-point numbers misses."""
    snapshot = cluster(a_node("n1", cpu="100m", memory="1000Mi"))
    pod = a_pod("p", requests={"cpu": "71m", "memory": "710Mi"})
    assert points(room.SCORE, pod, snapshot) == [29]
    assert points(room.room(least=False), pod, snapshot) == [71]


def test_a_resource_that_a_pod_does_not_ask_for_is_not_compared() -> None:
    """NodeResourcesFitArgs: extended resources count only for pods that ask for them."""
    disk = "kontinuum.dev/disk-write-bps"
    node = a_node("n1", cpu="1", memory="1Gi")
    node["status"]["allocatable"][disk] = "100"
    snapshot = cluster(node)
    score = room.room(weights={"cpu": 1, disk: 3})
    assert points(score, a_pod("p", requests={"cpu": "500m"}), snapshot) == [50]
    assert points(score, a_pod("p", requests={"cpu": "500m", disk: "90"}), snapshot) == [(50 + 3 * 10) // 4]


def test_balance_is_what_the_pod_makes_of_it() -> None:
    """NodeResourcesBalancedAllocation, kubernetes/kubernetes#135573: no change is 75, from even to as uneven as can be
    50, the other way 100."""
    snapshot = cluster(a_node("n1", cpu="1", memory="1Gi"), a_node("n2", cpu="1", memory="1Gi"))
    add(snapshot, a_pod("q", requests={"memory": "1Gi"}), "n2")
    assert points(balance.SCORE, a_pod("p", requests={"cpu": "1"}), snapshot) == [50, 100]
    assert points(balance.SCORE, a_pod("p", requests={"cpu": "500m", "memory": "512Mi"}), snapshot)[0] == 75
    # kubernetes/kubernetes#129138: pods that ask for nothing would all be drawn to one node.
    assert points(balance.SCORE, a_pod("p"), snapshot) == [0, 0]


def test_balance_of_three_resources_is_their_standard_deviation() -> None:
    node = a_node("n1", cpu="1", memory="1000", ephemeral__storage="1000")
    node["status"]["allocatable"]["ephemeral-storage"] = "1000"
    score = balance.balance(resources=("cpu", "memory", "ephemeral-storage"))
    # Shares 0.9, 0, 0: deviation sqrt(2)/3 * 0.9 = 0.42426; 100 - 42.4 is 57. 50 + (50 + 57 - 100) // 2 = 53.
    assert points(score, a_pod("p", requests={"cpu": "900m"}), cluster(node)) == [53]


def test_an_image_counts_by_its_size_and_its_spread() -> None:
    """ImageLocality: 500 MiB on one of two nodes count as 250; of the range from 23 to 1000 MiB that is 23 percent."""
    have = a_node("n1")
    have["status"]["images"] = [{"names": ["reg.local/app@sha256:1", "reg.local/app:latest"], "sizeBytes": 500 << 20}]
    snapshot = cluster(have, a_node("n2"))
    pod = a_pod("p", containers=[{"name": "c", "image": "reg.local/app"}])
    assert points(images.SCORE, pod, snapshot) == [23, 0]
    assert where(pod, snapshot) == "n1"
    # The node may lose the image: nothing else changes, and what was remembered must not count any more.
    assert not snapshot.set_node(trim_node(a_node("n1")))
    assert points(images.SCORE, pod, snapshot) == [0, 0]
    assert place(read_demand(pod), snapshot) == place(read_demand(pod), cluster(a_node("n1"), a_node("n2")))


@pytest.mark.parametrize(
    ("name", "full"),
    [("busybox", "busybox:latest"), ("a:1", "a:1"), ("r:5000/a", "r:5000/a:latest"), ("a@sha256:f", "a@sha256:f")],
)
def test_images_are_looked_up_with_their_tag(name: str, full: str) -> None:
    assert tagged(name) == full


def test_numbers_in_labels_are_read_as_go_reads_them() -> None:
    """assign-pod-node, Operators: Gt and Lt compare integers; ``1_000`` is a label value, but no integer."""
    snapshot = cluster(a_node("n1", labels={"level": "1_000"}), a_node("n2", labels={"level": "9" * 20}))
    expression = {"key": "level", "operator": "Gt", "values": ["5"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    pod = a_pod("p", affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
    assert where(pod, snapshot) is None
    snapshot.set_node(a_node("n3", labels={"level": "6"}))
    assert where(pod, snapshot) == "n3"


def test_tolerations_do_not_compare_numbers_yet() -> None:
    """KEP-5471: Gt and Lt of tolerations are alpha and off in 1.36; an API server that has them on changes nothing."""
    taint = {"key": "sla", "value": "950", "effect": "NoSchedule"}
    snapshot = cluster(a_node("n1", taints=[taint]))
    for operator, fits in (("Gt", False), ("Lt", False), ("Equal", True), ("Exists", True)):
        toleration = {"key": "sla", "operator": operator, "value": "950", "effect": "NoSchedule"}
        assert (where(a_pod("p", tolerations=[toleration]), snapshot) is not None) is fits, operator


def test_a_resize_counts_by_the_largest_of_what_is_wanted_granted_and_in_force() -> None:
    """resize-container-resources, Scheduling: "the scheduler uses the maximum of a container's desired requests,
    allocated requests, and actual requests from the status"; an infeasible wish counts no more."""
    pod = a_pod("p", requests={"cpu": "2"})
    granted = {"name": "main", "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "500m"}}}
    pod["status"]["containerStatuses"] = [granted]
    assert pod_requests(trim_pod(pod))["cpu"] == 2000
    pod["status"]["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
    assert pod_requests(trim_pod(pod))["cpu"] == 1000
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "250m"
    del pod["status"]["conditions"]
    assert pod_requests(trim_pod(pod))["cpu"] == 1000
    before = what_counts(trim_pod(pod))
    pod["status"]["containerStatuses"] = [{**granted, "allocatedResources": {"cpu": "250m"}}]
    assert what_counts(trim_pod(pod)) != before


def test_requests_of_the_pod_as_a_whole_replace_those_of_its_containers() -> None:
    """KEP-2837: of cpu, memory and huge pages; the overhead comes on top (KEP-688)."""
    pod = a_pod(
        "p",
        requests={"cpu": "2", "memory": "1Gi", "example.com/gpu": "1"},
        resources={"requests": {"cpu": "1", "example.com/gpu": "7"}},
        overhead={"cpu": "100m"},
    )
    assert pod_requests(pod) == {"cpu": 1100, "memory": 1 << 30, "example.com/gpu": 1}
    pod["status"] |= {"resources": {"requests": {"cpu": "1600m"}}, "allocatedResources": {"cpu": "1500m"}}
    assert pod_requests(pod)["cpu"] == 1600


def test_init_containers_run_one_at_a_time_beside_the_sidecars_before_them() -> None:
    """KEP-753: max(sum(containers) + sum(sidecars), each init container + the sidecars before it)."""

    def container(name: str, cpu: str, **more: str) -> Object:
        return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}

    pod = a_pod(
        "p",
        containers=[container("a", "1"), container("b", "1")],
        initContainers=[
            container("early", "3"),
            container("sidecar", "500m", restartPolicy="Always"),
            container("late", "2600m"),
        ],
    )
    assert pod_requests(pod)["cpu"] == 3100


def test_what_is_remembered_of_a_demand_is_bound_to_its_plugins() -> None:
    snapshot = zones("a", "b")
    add(snapshot, a_pod("big", requests={"cpu": "1"}), "n1")
    demand = read_demand(a_pod("p", requests={"cpu": "500m", "memory": "1Gi"}))
    packing = Plugins(scores=(room.room(least=False),))
    spreading, packed = place(demand, snapshot, DEFAULT), place(demand, snapshot, packing)
    assert isinstance(spreading, Placement) and isinstance(packed, Placement)
    assert (spreading.node, packed.node) == ("n2", "n1")


def test_a_run_ends_where_no_more_fit() -> None:
    snapshot = cluster(a_node("n1", cpu="1"))
    assert in_a_run(a_pod("p", requests={"cpu": "400m"}), 4, snapshot) == ["n1", "n1"]
    assert isinstance(place(read_demand(a_pod("p", requests={"cpu": "400m"})), snapshot), Refusal)


def test_what_is_remembered_of_demands_has_a_bound() -> None:
    snapshot = cluster(a_node("n1", pods="2000"))
    snapshot.names += [""] * KEPT_ROWS  # a cluster too large to remember more than a few
    for number in range(LEAST_KEPT + 9):
        evaluation(read_demand(a_pod("p", requests={"cpu": f"{number}m"})), snapshot)
    assert len(snapshot.remembered) == LEAST_KEPT
