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
from kontinuum.scheduler.place import Placement, Refusal, place
from kontinuum.scheduler.snapshot import Snapshot

NAMES = st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"])
CPU = st.sampled_from(["0", "100m", "250m", "0.5", "1", "1500m", "2"])
MEMORY = st.sampled_from(["0", "64Mi", "100M", "1Gi", "2Gi"])
KEYS = st.sampled_from(["zone", "disk", "level"])
VALUES = st.sampled_from(["a", "b", "1", "2", "10"])
EFFECTS = st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])
OPERATORS = st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])


def compact(**fields: Any) -> Object:
    """Without what is empty: as objects come from a server."""
    return {key: value for key, value in fields.items() if value not in ("", [], {}, None)}


@st.composite
def taints(draw: st.DrawFn) -> Object:
    return compact(key=draw(KEYS), value=draw(st.sampled_from(["", "a"])), effect=draw(EFFECTS))


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Object:
    extended = {"example.com/gpu": draw(st.sampled_from(["0", "1", "4"]))} if draw(st.booleans()) else {}
    node = a_node(
        name,
        cpu=draw(CPU),
        memory=draw(MEMORY),
        pods=draw(st.sampled_from(["0", "1", "2", "110"])),
        labels=draw(st.dictionaries(KEYS, VALUES)),
        taints=draw(st.lists(taints(), max_size=2)),
        unschedulable=draw(st.sampled_from([False, False, False, True])),
    )
    node["status"]["allocatable"] |= extended
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
    return compact(name="c", resources=compact(requests=requests), ports=[port] if draw(st.integers(0, 4)) == 0 else [])


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
def pods(draw: st.DrawFn, name: str) -> Object:
    required = draw(st.one_of(st.none(), st.none(), st.lists(terms(), min_size=1, max_size=2)))
    weighed = st.fixed_dictionaries({"weight": st.integers(1, 100), "preference": terms()})
    affinity = compact(
        requiredDuringSchedulingIgnoredDuringExecution=required and {"nodeSelectorTerms": required},
        preferredDuringSchedulingIgnoredDuringExecution=draw(st.lists(weighed, max_size=2)),
    )
    spec = compact(
        containers=draw(st.lists(containers(), min_size=1, max_size=3)),
        initContainers=draw(st.lists(init_containers(), max_size=3)),
        nodeSelector=draw(st.one_of(st.just({}), st.just({}), st.dictionaries(KEYS, VALUES, max_size=1))),
        affinity=compact(nodeAffinity=affinity),
        tolerations=draw(st.lists(tolerations(), max_size=2)),
        overhead=draw(st.sampled_from([{}, {}, {"cpu": "50m", "memory": "60Mi"}])),
    )
    return a_pod(name, **spec)


def decide_by_oracle(
    pod: Object, cluster: dict[str, Object], bound: dict[str, tuple[str, Object]], rows: dict[str, int]
) -> Placement | Refusal:
    """``rows`` decides between equals."""
    others = {name: [other for where, other in bound.values() if where == name] for name in cluster}
    refusals = {name: oracle.why_not(pod, node, others[name]) for name, node in cluster.items()}
    feasible = {name: (cluster[name], others[name]) for name, reasons in refusals.items() if not reasons}
    if feasible:
        points = oracle.points(pod, feasible)
        best = min(points, key=lambda name: (-points[name], rows[name]))
        return Placement(best, points[best])
    helped = sum(oracle.victims_could_help(pod, node, refusals[name]) for name, node in cluster.items())
    return Refusal(len(cluster), dict(Counter(chain.from_iterable(refusals.values()))), helped, preempts=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_place_agrees_with_the_oracle_after_every_change(data: st.DataObject) -> None:
    snapshot = Snapshot(capacity=2)
    cluster: dict[str, Object] = {}
    bound: dict[str, tuple[str, Object]] = {}
    for step in range(data.draw(st.integers(1, 14), label="steps")):
        match data.draw(st.sampled_from(["node", "node", "node gone", "pod", "pod", "pod", "pod gone"])):
            case "node":
                node = data.draw(nodes(data.draw(NAMES)))
                changed = snapshot.set_node(node)
                assert changed or cluster.get(name_of(node)) == node
                cluster[name_of(node)] = node
            case "node gone":
                name = data.draw(NAMES)
                snapshot.remove_node(name)
                cluster.pop(name, None)
            case "pod":
                name = f"p{data.draw(st.integers(0, 9))}"
                where, pod = data.draw(NAMES), data.draw(pods(name))
                snapshot.add_pod(name, read_demand(pod), where)
                bound[name] = (where, pod)
            case "pod gone":
                name = f"p{data.draw(st.integers(0, 9))}"
                assert snapshot.remove_pod(name) == (name in bound)
                bound.pop(name, None)
        pod = data.draw(pods(f"new-{step}"))
        decision = place(read_demand(pod), snapshot)
        assert decision == decide_by_oracle(pod, cluster, bound, snapshot.row_of)
        if isinstance(decision, Placement):  # bind most of them, so that nodes fill up
            snapshot.add_pod(name_of(pod), read_demand(pod), decision.node)
            bound[name_of(pod)] = (decision.node, pod)
