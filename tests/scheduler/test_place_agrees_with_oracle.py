"""On any cluster, however it came about, ``place`` decides what the slow and obvious oracle decides."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler import oracle
from tests.scheduler.cluster import a_node, a_pod

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.place import Placement, Refusal, Run, place
from kontinuum.scheduler.snapshot import Snapshot

NAMES = st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"])
CPU = st.sampled_from(["0", "100m", "250m", "0.5", "1", "1500m", "2"])
MEMORY = st.sampled_from(["0", "64Mi", "100M", "1Gi", "2Gi"])
KEYS = st.sampled_from([oracle.ZONE, "disk", "level"])
TOPOLOGIES = st.sampled_from([oracle.ZONE, oracle.ZONE, oracle.HOSTNAME, oracle.HOSTNAME, "disk"])
NAMESPACES = st.sampled_from(["default", "default", "other"])
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]))
IMAGES = st.sampled_from(["busybox:latest", "registry.local:5000/db:1"])
VALUES = st.sampled_from(["a", "b", "1", "2", "10"])
EFFECTS = st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])
OPERATORS = st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])


def compact(**fields: Any) -> Object:
    """Without what is empty: as objects come from a server."""
    return {key: value for key, value in fields.items() if value not in ("", [], {}, None)}


def seldom(draw: st.DrawFn, strategy: st.SearchStrategy[Any], otherwise: Any, *, one_in: int = 5) -> Any:
    """Mostly ``otherwise``: if every pod and node had everything, hardly a pod would ever fit."""
    return draw(strategy) if draw(st.integers(1, one_in)) == one_in else otherwise


@st.composite
def taints(draw: st.DrawFn) -> Object:
    return compact(key=draw(KEYS), value=draw(st.sampled_from(["", "a"])), effect=draw(EFFECTS))


@st.composite
def images(draw: st.DrawFn) -> Object:
    return {"names": [draw(IMAGES)], "sizeBytes": draw(st.sampled_from([1 << 20, 200 << 20, 3 << 30]))}


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Object:
    extended = {"example.com/gpu": draw(st.sampled_from(["0", "1", "4"]))} if draw(st.booleans()) else {}
    node = a_node(
        name,
        cpu=seldom(draw, CPU, "4", one_in=4),
        memory=seldom(draw, MEMORY, "8Gi", one_in=4),
        pods=seldom(draw, st.sampled_from(["0", "1", "2", "3"]), "110"),
        labels=seldom(
            draw, st.dictionaries(KEYS, VALUES), {oracle.ZONE: draw(st.sampled_from(["a", "b", "c"]))}, one_in=3
        ),
        taints=seldom(draw, st.lists(taints(), max_size=2), []),
        unschedulable=seldom(draw, st.just(True), False, one_in=8),
    )
    node["status"]["allocatable"] |= extended
    node["status"]["images"] = draw(st.lists(images(), max_size=2, unique_by=lambda one: one["names"][0]))
    return node


@st.composite
def expressions(draw: st.DrawFn) -> Object:
    operator = draw(OPERATORS)
    if operator in ("Gt", "Lt"):
        values = [draw(st.sampled_from(["1", "5", "-3"]))]
    else:
        values = draw(st.lists(VALUES, min_size=1, max_size=2)) if operator in ("In", "NotIn") else []
    return compact(key=draw(KEYS), operator=operator, values=values)


@st.composite
def terms(draw: st.DrawFn) -> Object:
    field = {"key": "metadata.name", "operator": draw(st.sampled_from(["In", "NotIn"])), "values": [draw(NAMES)]}
    return compact(
        matchExpressions=draw(st.lists(expressions(), max_size=2)),
        matchFields=[field] if draw(st.sampled_from([False, False, True])) else [],
    )


@st.composite
def containers(draw: st.DrawFn) -> Object:
    requests = compact(cpu=draw(st.one_of(st.none(), CPU)), memory=draw(st.one_of(st.none(), MEMORY)))
    if draw(st.sampled_from([False, False, True])):
        requests["example.com/gpu"] = "1"
    port = compact(
        hostPort=draw(st.sampled_from([80, 81])),
        protocol=draw(st.sampled_from(["TCP", "UDP"])),
        hostIP=draw(st.sampled_from(["", "10.0.0.1", "10.0.0.2"])),
    )
    return compact(
        name="c",
        image=draw(st.sampled_from(["", "busybox", "registry.local:5000/db:1"])),
        resources=compact(requests=requests),
        ports=[port] if draw(st.integers(0, 4)) == 0 else [],
    )


@st.composite
def init_containers(draw: st.DrawFn) -> Object:
    container = draw(containers())
    container.pop("ports", None)
    return container | ({"restartPolicy": "Always"} if draw(st.booleans()) else {})


@st.composite
def tolerations(draw: st.DrawFn) -> Object:
    if draw(st.booleans()):
        cordon = "node.kubernetes.io/unschedulable"
        key = draw(st.one_of(st.just(""), KEYS, st.just(cordon)))
        return compact(key=key, operator="Exists", effect=draw(st.one_of(st.just(""), EFFECTS)))
    return compact(key=draw(KEYS), value=draw(st.sampled_from(["", "a"])), effect=draw(st.one_of(st.just(""), EFFECTS)))


@st.composite
def selectors(draw: st.DrawFn) -> Object:
    """A metav1.LabelSelector."""
    if draw(st.booleans()):
        return {"matchLabels": {"app": "a"}}
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    values = [draw(st.sampled_from(["a", "b"]))] if operator in ("In", "NotIn") else []
    expression = compact(key=draw(st.sampled_from(["app", "tier"])), operator=operator, values=values)
    return compact(matchLabels=draw(LABELS), matchExpressions=draw(st.sampled_from([[], [], [expression]])))


def unspoken(selector: Object) -> list[str]:
    """Keys that may be in matchLabelKeys: the API refuses those that the selector speaks of."""
    spoken_of = {*selector.get("matchLabels", {}), *(one["key"] for one in selector.get("matchExpressions", []))}
    return [key for key in ("app", "tier") if key not in spoken_of]


@st.composite
def pod_terms(draw: st.DrawFn) -> Object:
    term = {"topologyKey": draw(TOPOLOGIES), "labelSelector": draw(selectors())}
    match draw(st.integers(0, 5)):
        case 0:
            term["namespaces"] = ["other"]
        case 1:
            term["namespaceSelector"] = draw(st.sampled_from([{}, {"matchLabels": {"team": "a"}}]))
        case 2:
            del term["labelSelector"]
        case 3:
            term[draw(st.sampled_from(["matchLabelKeys", "mismatchLabelKeys"]))] = unspoken(term["labelSelector"])
    return term


@st.composite
def pod_affinities(draw: st.DrawFn) -> Object:
    required = draw(st.sampled_from([0, 0, 1, 2]))
    weighed = st.fixed_dictionaries({"weight": st.integers(1, 100), "podAffinityTerm": pod_terms()})
    return compact(
        requiredDuringSchedulingIgnoredDuringExecution=[draw(pod_terms()) for _ in range(required)],
        preferredDuringSchedulingIgnoredDuringExecution=draw(st.lists(weighed, max_size=2)),
    )


@st.composite
def constraints(draw: st.DrawFn) -> Object:
    hard, selector = draw(st.booleans()), draw(selectors())
    return compact(
        topologyKey=draw(TOPOLOGIES),
        whenUnsatisfiable=oracle.HARD if hard else oracle.SOFT,
        maxSkew=draw(st.sampled_from([1, 1, 2, 3])),
        minDomains=draw(st.sampled_from([None, 1, 2, 3])) if hard else None,
        nodeAffinityPolicy=draw(st.sampled_from(["", "Honor", "Ignore"])),
        nodeTaintsPolicy=draw(st.sampled_from(["", "Honor", "Ignore"])),
        matchLabelKeys=draw(st.sampled_from([[], unspoken(selector)])),
    ) | {"labelSelector": selector}


@st.composite
def pods(draw: st.DrawFn, name: str) -> Object:
    required = seldom(draw, st.lists(terms(), min_size=1, max_size=2), None, one_in=8)
    weighed = st.fixed_dictionaries({"weight": st.integers(1, 100), "preference": terms()})
    affinity = compact(
        requiredDuringSchedulingIgnoredDuringExecution=required and {"nodeSelectorTerms": required},
        preferredDuringSchedulingIgnoredDuringExecution=draw(st.lists(weighed, max_size=2)),
    )
    sociable = draw(st.booleans())
    spec = compact(
        containers=seldom(draw, st.lists(containers(), min_size=1, max_size=3), [SMALL], one_in=3),
        initContainers=seldom(draw, st.lists(init_containers(), max_size=3), []),
        nodeSelector=seldom(draw, st.dictionaries(KEYS, VALUES, max_size=1), {}, one_in=8),
        affinity=compact(
            nodeAffinity=affinity,
            podAffinity=draw(pod_affinities()) if sociable else {},
            podAntiAffinity=draw(pod_affinities()) if sociable else {},
        ),
        topologySpreadConstraints=draw(st.lists(constraints(), min_size=1, max_size=2)) if draw(st.booleans()) else [],
        tolerations=seldom(draw, st.lists(tolerations(), max_size=2), [], one_in=3),
        overhead=draw(st.sampled_from([{}, {}, {"cpu": "50m", "memory": "60Mi"}])),
        resources=draw(st.sampled_from([{}, {}, {"requests": {"cpu": "300m", "memory": "70Mi"}}])),
    )
    pod = a_pod(name, **spec)
    pod["metadata"] |= compact(
        namespace=seldom(draw, NAMESPACES, "default"),
        labels=seldom(draw, LABELS, {"app": "a"}, one_in=3),
        deletionTimestamp=seldom(draw, st.just("2026-01-01T00:00:00Z"), "", one_in=6),
        ownerReferences=draw(st.sampled_from([[], [OWNER]])),
    )
    return pod


SMALL = {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "w", "controller": True}


@st.composite
def selecting(draw: st.DrawFn) -> Object:
    """A Service or a ReplicaSet."""
    kind = draw(st.sampled_from(["Service", "ReplicaSet"]))
    selector = draw(LABELS) if kind == "Service" else draw(selectors())
    metadata = {"name": "web", "namespace": draw(NAMESPACES)}
    return {"kind": kind, "metadata": metadata, "spec": {"selector": selector}}


def decide_by_oracle(pod: Object, cluster: oracle.Cluster, rows: dict[str, int]) -> Placement | Refusal:
    """``rows`` decides between equals."""
    refusals = {name: oracle.why_not(pod, node, cluster) for name, node in cluster.nodes.items()}
    feasible = [node for name, node in cluster.nodes.items() if not refusals[name]]
    if feasible:
        points = oracle.points(pod, feasible, cluster)
        best = min(points, key=lambda name: (-points[name], rows[name]))
        return Placement(best, points[best])
    whole = "pod affinity terms conflict" if oracle.named_nodes(pod) == set() else ""
    if whole:
        return Refusal(len(cluster.nodes), {}, 0, preempts=True, whole=whole)
    helped = sum(oracle.victims_could_help(pod, node, refusals[name]) for name, node in cluster.nodes.items())
    return Refusal(len(cluster.nodes), dict(Counter(chain.from_iterable(refusals.values()))), helped, preempts=True)


class Twins:
    """A cluster twice: as the scheduler keeps it, and as the oracle reads it."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(capacity=2)
        self.cluster = oracle.Cluster()

    def begin(self, data: st.DataObject) -> None:
        """A few nodes, and pods on them that say something of others."""
        for number in range(1, 5):
            node = data.draw(nodes(f"n{number}"))
            self.snapshot.set_node(node)
            self.cluster.nodes[name_of(node)] = node
        for number in range(data.draw(st.integers(0, 6), label="pods at the beginning")):
            self.bind(data.draw(pods(f"p{number}")), data.draw(NAMES))
        if data.draw(st.booleans()):
            self.select(data.draw(selecting()))

    def change(self, data: st.DataObject) -> None:
        """Something happens."""
        snapshot, cluster = self.snapshot, self.cluster
        match data.draw(st.sampled_from(["node"] * 3 + ["node gone"] + ["pod"] * 4 + ["pod gone", "namespace", "set"])):
            case "node":
                node = data.draw(nodes(data.draw(NAMES)))
                changed = snapshot.set_node(node)
                assert changed or {**cluster.nodes[name_of(node)], "status": {}} == {**node, "status": {}}
                cluster.nodes[name_of(node)] = node
            case "node gone":
                name = data.draw(NAMES)
                snapshot.remove_node(name)
                cluster.nodes.pop(name, None)
            case "pod":
                name = f"p{data.draw(st.integers(0, 9))}"
                self.bind(data.draw(pods(name)), data.draw(NAMES))
            case "pod gone":
                name = f"p{data.draw(st.integers(0, 9))}"
                assert snapshot.remove_pod(name) == (name in cluster.bound)
                cluster.bound.pop(name, None)
            case "namespace":
                labels = data.draw(st.sampled_from([{}, {"team": "a"}]))
                name = data.draw(NAMESPACES)
                snapshot.set_namespace({"metadata": {"name": name, "labels": labels}})
                cluster.namespaces[name] = labels
            case "set":
                self.select(data.draw(selecting()))

    def select(self, obj: Object) -> None:
        """A Service or a controller comes, or gets another selector."""
        self.snapshot.selecting.put(obj)
        others = [
            one for one in self.cluster.selecting if (one["kind"], one["metadata"]) != (obj["kind"], obj["metadata"])
        ]
        self.cluster.selecting = [*others, obj]

    def bind(self, pod: Object, node: str) -> None:
        self.snapshot.add_pod(name_of(pod), read_demand(pod), node)
        self.cluster.bound[name_of(pod)] = (node, pod)

    def by_oracle(self, pod: Object) -> Placement | Refusal:
        return decide_by_oracle(pod, self.cluster, self.snapshot.row_of)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_place_agrees_with_the_oracle_after_every_change(data: st.DataObject) -> None:
    twins = Twins()
    twins.begin(data)
    known: list[Object] = []
    for step in range(data.draw(st.integers(1, 8), label="steps")):
        twins.change(data)
        # Some are like one before, so that what is remembered of those must have kept up.
        if known and data.draw(st.booleans()):
            pod = {**data.draw(st.sampled_from(known))}
            pod["metadata"] = {**pod["metadata"], "name": f"new-{step}"}
        else:
            pod = data.draw(pods(f"new-{step}"))
            known.append(pod)
        decision = place(read_demand(pod), twins.snapshot)
        assert decision == twins.by_oracle(pod)
        if isinstance(decision, Placement):  # bind most of them, so that nodes fill up
            twins.bind(pod, decision.node)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_run_is_placed_as_its_pods_one_by_one(data: st.DataObject) -> None:
    twins = Twins()
    twins.begin(data)
    for _ in range(data.draw(st.integers(0, 6), label="changes")):
        twins.change(data)
    pod = data.draw(pods("new"))
    if data.draw(st.booleans()):  # pods that are spread among themselves: each changes what the next may do
        pod["metadata"]["labels"] = {"app": "a"}
        pod["spec"]["topologySpreadConstraints"] = [
            data.draw(constraints()) | {"labelSelector": {"matchLabels": {"app": "a"}}}
        ]
    uids = [f"new-{number}" for number in range(data.draw(st.integers(1, 6), label="pods"))]
    run = Run(read_demand(pod), twins.snapshot)
    for uid in uids:
        decision = twins.by_oracle(pod)
        assert run.place() == (decision if isinstance(decision, Placement) else None)
        if isinstance(decision, Placement):
            twins.snapshot.add_pod(uid, run.demand, decision.node)
            twins.cluster.bound[uid] = (decision.node, pod)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_pods_taken_out_for_a_while_leave_no_trace(data: st.DataObject) -> None:
    """As preemption does: what is decided without them is the oracle's, and with them again too."""
    twins = Twins()
    twins.begin(data)
    for _ in range(data.draw(st.integers(0, 6), label="changes")):
        twins.change(data)
    pod = data.draw(pods("new"))
    place(read_demand(pod), twins.snapshot)
    bound = dict(twins.cluster.bound)
    victims = data.draw(st.lists(st.sampled_from(sorted(bound)), unique=True)) if bound else []
    taken = {name: twins.snapshot.take_out(name) for name in victims}
    twins.cluster.bound = {name: one for name, one in bound.items() if name not in victims}
    assert place(read_demand(pod), twins.snapshot) == twins.by_oracle(pod)
    for name, use in taken.items():
        assert use is not None
        twins.snapshot.put_back(name, use)
    twins.cluster.bound = bound
    assert place(read_demand(pod), twins.snapshot) == twins.by_oracle(pod)
