"""Scheduling decisions a second, on clusters of 1,000 and 5,000 nodes; in runs of like pods, and in turn.

    python -m benchmarks.scheduler [PODS]

A decision is everything between a pod's object and the snapshot that holds it on its node: reading its demand (once for
a run of like pods), all filters and scores over all nodes, and the assumption. The pods come from ten ReplicaSets; in
runs of a hundred, or from each in turn, which is the harder way round. Times are CPU times of this process, so that
a neighbour on the machine counts less; five rounds of each, of which the median is told.

Also: what a changed node costs, and a pod that fits nowhere.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

from benchmarks.report import figure, machine
from kontinuum.api.machinery.objects import Object
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.place import Placement, Run, place
from kontinuum.scheduler.snapshot import Snapshot

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SETS, RUN, ROUNDS = 10, 100, 5

Make = Callable[[str], Object]
"""A pod of the ReplicaSet with this name."""


def a_node(number: int, *, cpu: str = "32") -> Object:
    """A node of one of 10 zones; every eleventh is tainted for databases."""
    taint = [{"key": "dedicated", "value": "database", "effect": "NoSchedule"}] if number % 11 == 0 else []
    labels = {
        HOSTNAME: f"n{number}",
        "kubernetes.io/os": "linux",
        ZONE: f"z{number % 10}",
        "disk": "ssd" if number % 3 else "hdd",
    }
    return {
        "metadata": {"name": f"n{number}", "labels": labels},
        "spec": {"taints": taint},
        "status": {"allocatable": {"cpu": cpu, "memory": "128Gi", "ephemeral-storage": "1Ti", "pods": "110"}},
    }


def a_pod(app: str = "web", **spec: object) -> Object:
    requests = {"cpu": "250m", "memory": "512Mi"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": app, "controller": True}
    return {
        "metadata": {"name": app, "namespace": "default", "labels": {"app": app}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "main", "image": "web:1", "resources": {"requests": requests}}], **spec},
    }


def plain(app: str) -> Object:
    """Says nothing: spread softly over hosts and zones by default."""
    return a_pod(app)


def spreading(app: str) -> Object:
    """Spread hard over zones and softly over hosts; prefers fast disks, and to be near a cache."""
    pods = {"matchLabels": {"app": app}}
    fast = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    cache = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "cache"}}}
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    return a_pod(
        app,
        topologySpreadConstraints=[
            {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": pods},
            {"topologyKey": HOSTNAME, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": pods},
        ],
        affinity={
            "nodeAffinity": {preferred: [{"weight": 10, "preference": fast}]},
            "podAffinity": {preferred: [{"weight": 10, "podAffinityTerm": cache}]},
        },
    )


def apart(app: str) -> Object:
    """Never two on one host."""
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": app}}}
    return a_pod(app, affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


def a_snapshot(nodes: int) -> Snapshot:
    snapshot = Snapshot()
    for number in range(nodes):
        snapshot.set_node(a_node(number))
    for app in apps():
        selector = {"matchLabels": {"app": app}}
        metadata = {"name": app, "namespace": "default"}
        snapshot.selecting.put({"kind": "ReplicaSet", "metadata": metadata, "spec": {"selector": selector}})
    return snapshot


def apps() -> list[str]:
    return [f"web-{number}" for number in range(SETS)]


def in_runs(make: Make, pods: int, snapshot: Snapshot) -> None:
    for number, app in enumerate(islice(cycle(apps()), pods // RUN)):
        run = Run(read_demand(make(app)), snapshot)
        for one in range(RUN):
            placement = run.place()
            assert placement is not None
            snapshot.add_pod(f"{number}-{one}", run.demand, placement.node)


def one_by_one(make: Make, pods: int, snapshot: Snapshot) -> None:
    for number, app in enumerate(islice(cycle(apps()), pods)):
        demand = read_demand(make(app))
        decision = place(demand, snapshot)
        assert isinstance(decision, Placement)
        snapshot.add_pod(str(number), demand, decision.node)


def decisions_a_second(nodes: int, pods: int, make: Make, way: Callable[[Make, int, Snapshot], None]) -> float:
    """Of one round."""
    snapshot = a_snapshot(nodes)
    began = time.process_time()
    way(make, pods, snapshot)
    return pods / (time.process_time() - began)


def measure_rates(nodes: int, pods: int) -> None:
    for name, make, reach in (
        ("plain", plain, None),
        ("spreading and affinity", spreading, 5000),
        ("apart", apart, 1000),
    ):
        for how, way in (("in runs", in_runs), ("one by one", one_by_one)):
            rates = [decisions_a_second(nodes, pods, make, way) for _ in range(ROUNDS)]
            wanted = f"  reach ≥ {reach:,}/s" if reach and nodes == 5000 else ""
            spread = f"min {min(rates):,.0f}, max {max(rates):,.0f}, n={ROUNDS}"
            print(f"{nodes} nodes, {name}, {how}: {statistics.median(rates):,.0f}/s  ({spread}){wanted}", flush=True)


def timed(work: Callable[[], object]) -> float:
    """Microseconds."""
    began = time.process_time()
    work()
    return 1e6 * (time.process_time() - began)


def measure_rest(nodes: int) -> None:
    snapshot = a_snapshot(nodes)
    changes = [timed(lambda n=n: snapshot.set_node(a_node(n, cpu="31"))) for n in range(0, nodes, 7)]  # type: ignore[misc]
    figure(f"{nodes} nodes: a node changes", changes, unit="µs")
    huge = read_demand(a_pod(overhead={"cpu": "1000"}))
    refusals = [timed(lambda: place(huge, snapshot)) for _ in range(100)]
    figure(f"{nodes} nodes: a pod that fits nowhere", refusals, unit="µs")


def main() -> None:
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    machine("Scheduler: decisions alone, by CPU time")
    for nodes in (1000, 5000):
        measure_rates(nodes, pods)
        measure_rest(nodes)


if __name__ == "__main__":
    main()
