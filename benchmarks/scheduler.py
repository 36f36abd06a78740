"""Scheduling decisions a second, on clusters of 1,000 and 5,000 nodes.

    python -m benchmarks.scheduler [DECISIONS]

A decision is everything between a pod's object and the snapshot that holds it on its node: reading its demand, all
filters and scores over all nodes, and the assumption. Also: what a changed node costs, and a pod that fits nowhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

from benchmarks.report import figure, machine
from kontinuum.api.machinery.objects import Object
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.place import Placement, place
from kontinuum.scheduler.snapshot import Snapshot


def a_node(number: int, *, cpu: str = "32") -> Object:
    """A node of one of 10 zones; every tenth is tainted for databases."""
    taint = [{"key": "dedicated", "value": "database", "effect": "NoSchedule"}] if number % 10 == 0 else []
    labels = {
        "kubernetes.io/hostname": f"n{number}",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": f"z{number % 10}",
        "disk": "ssd" if number % 3 else "hdd",
    }
    return {
        "metadata": {"name": f"n{number}", "labels": labels},
        "spec": {"taints": taint},
        "status": {"allocatable": {"cpu": cpu, "memory": "128Gi", "ephemeral-storage": "1Ti", "pods": "110"}},
    }


def a_pod(**spec: object) -> Object:
    requests = {"cpu": "250m", "memory": "512Mi"}
    return {"metadata": {}, "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}], **spec}}


def kinds_of_pods() -> list[Object]:
    """Plain ones, ones with a selector, with a toleration, and with required and preferred affinity."""
    in_zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1", "z2", "z3"]}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [in_zones]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
        ],
    }
    return [
        a_pod(),
        a_pod(nodeSelector={"disk": "ssd"}),
        a_pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]),
        a_pod(affinity={"nodeAffinity": affinity}, overhead={"cpu": "50m", "memory": "60Mi"}),
    ]


def timed(work: Callable[[], object]) -> float:
    """Microseconds."""
    began = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - began)


def measure(nodes: int, decisions: int) -> None:
    snapshot = Snapshot()
    for number in range(nodes):
        snapshot.set_node(a_node(number))

    def decide(uid: str, pod: Object) -> None:
        demand = read_demand(pod)
        decision = place(demand, snapshot)
        assert isinstance(decision, Placement)
        snapshot.add_pod(uid, demand, decision.node)

    began = time.perf_counter()
    waits = [
        timed(lambda uid=str(number), pod=pod: decide(uid, pod))  # type: ignore[misc]
        for number, pod in enumerate(islice(cycle(kinds_of_pods()), decisions))
    ]
    rate = decisions / (time.perf_counter() - began)
    figure(f"{nodes} nodes: {rate:.0f} decisions/s, each", waits, unit="µs")
    changes = [timed(lambda n=n: snapshot.set_node(a_node(n, cpu="31"))) for n in range(0, nodes, 7)]  # type: ignore[misc]
    figure(f"{nodes} nodes: a node changes", changes, unit="µs")
    huge = read_demand(a_pod(overhead={"cpu": "1000"}))
    figure(
        f"{nodes} nodes: a pod that fits nowhere", [timed(lambda: place(huge, snapshot)) for _ in range(100)], unit="µs"
    )


def main() -> None:
    decisions = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    machine("Scheduler: decisions on pods of four kinds (plain, selector, toleration, affinity)")
    for nodes in (1000, 5000):
        measure(nodes, decisions)


if __name__ == "__main__":
    main()
