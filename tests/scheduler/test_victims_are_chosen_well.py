"""Whom ``preempt`` asks to leave: any answer is enough and necessary, and no other choice would hurt less."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.cluster import a_budget, a_node, a_pod, labelled

from kontinuum.api.machinery.objects import Object, labels_of
from kontinuum.scheduler.demand import read_demand
from kontinuum.scheduler.occupants import Occupants, read_occupant
from kontinuum.scheduler.place import Refusal, place
from kontinuum.scheduler.preemption import Outlook, Preemption, Preemptor, preempt, read_budget
from kontinuum.scheduler.snapshot import Snapshot


class Room:
    """Nodes of some size, and the pods on them."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.snapshot, self.occupants = Snapshot(), Occupants()
        self.sizes = sizes
        self.pods: dict[str, tuple[str, Object]] = {}
        for name, cpu in sizes.items():
            self.snapshot.set_node(a_node(name, cpu=str(cpu), memory="1Ti"))

    def put(self, name: str, node: str, cpu: int, priority: int, *, started: int = 0, **labels: str) -> None:
        pod = labelled(a_pod(name, requests={"cpu": str(cpu)}, priority=priority, nodeName=node), **labels)
        pod["metadata"]["namespace"] = "default"
        pod["status"]["startTime"] = f"2026-01-01T00:00:{started:02}Z"
        self.pods[name] = node, pod
        self.snapshot.add_pod(name, read_demand(pod), node)
        self.occupants.put(read_occupant(pod), node)

    def make_room(self, cpu: int, priority: int, *budgets: Object) -> Preemption | Outlook:
        demand = read_demand(a_pod("new", requests={"cpu": str(cpu)}, priority=priority))
        refusal = place(demand, self.snapshot)
        assert isinstance(refusal, Refusal)
        before = {name: self.snapshot.pod_node(name) for name in self.pods}
        outcome = preempt(
            Preemptor("new", priority, demand), refusal, self.snapshot, self.occupants,
            budgets=[read_budget(one) for one in budgets],
            labels=lambda key: labels_of(self.pods[key.partition("/")[2]][1]),
        )  # fmt: skip
        assert {name: self.snapshot.pod_node(name) for name in self.pods} == before
        assert place(demand, self.snapshot) == refusal, "the snapshot is as it was"
        return outcome

    def free(self, node: str, without: set[str]) -> int:
        taken = sum(
            int(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"])
            for name, (where, pod) in self.pods.items()
            if where == node and name not in without
        )
        return self.sizes[node] - taken


def names(outcome: Preemption | Outlook) -> tuple[str, list[str]]:
    assert isinstance(outcome, Preemption)
    return outcome.node, [one.uid for one in outcome.victims]


def test_of_equal_victims_the_youngest_goes() -> None:
    room = Room({"n1": 2})
    room.put("old", "n1", 1, 0, started=1)
    room.put("young", "n1", 1, 0, started=9)
    assert names(room.make_room(1, 5)) == ("n1", ["young"])


def test_of_equal_nodes_the_one_whose_victims_started_last() -> None:
    room = Room({"n1": 1, "n2": 1})
    room.put("old", "n1", 1, 0, started=1)
    room.put("young", "n2", 1, 0, started=9)
    assert names(room.make_room(1, 5)) == ("n2", ["young"])


def test_one_important_victim_is_worse_than_many_unimportant_ones() -> None:
    room = Room({"n1": 3, "n2": 3})
    room.put("important", "n1", 3, 4)
    for number in range(3):
        room.put(f"small-{number}", "n2", 1, 3)
    assert names(room.make_room(3, 5))[0] == "n2"


def test_many_victims_of_negative_priority_are_worse_than_few() -> None:
    room = Room({"n1": 2, "n2": 2})
    room.put("one", "n1", 1, -10)
    room.put("two", "n1", 1, -10)
    room.put("all", "n2", 2, -10)
    assert names(room.make_room(2, 0)) == ("n2", ["all"])


def test_a_budget_counts_more_than_importance_and_is_used_up() -> None:
    room = Room({"n1": 2, "n2": 1})
    room.put("a", "n1", 1, 0, app="web")
    room.put("b", "n1", 1, 0, app="web")
    room.put("c", "n2", 1, 4)
    budget = a_budget("web", allowed=1, app="web")
    assert names(room.make_room(1, 5, budget)) == ("n1", ["a"])  # the one that may go
    room.put("c", "n2", 1, 4)
    nothing_allowed = a_budget("web", allowed=0, app="web")
    assert names(room.make_room(1, 5, nothing_allowed)) == ("n2", ["c"])
    disrupted = {**nothing_allowed, "status": {"disruptionsAllowed": 0, "disruptedPods": {"b": "now"}}}
    assert names(room.make_room(1, 5, disrupted)) == ("n1", ["b"])


def test_who_leaves_already_is_not_harmed_again() -> None:
    room = Room({"n1": 1, "n2": 1})
    room.put("stays", "n1", 1, 0)
    room.put("leaves", "n2", 1, 4)
    pod = room.pods["leaves"][1]
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    room.occupants.put(read_occupant(pod), "n2")
    assert names(room.make_room(1, 5)) == ("n2", ["leaves"])


PODS = st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.integers(1, 3), st.integers(0, 4)), max_size=9)


@settings(max_examples=150, deadline=None)
@given(PODS, st.integers(1, 4), st.integers(0, 5), st.sets(st.integers(0, 8), max_size=3))
def test_every_choice_is_enough_and_necessary_and_the_least_harm(
    pods: list[tuple[str, int, int]], cpu: int, priority: int, guarded: set[int]
) -> None:
    room = Room({"n1": 4, "n2": 3, "n3": 2})
    for number, (node, size, importance) in enumerate(pods):
        if room.free(node, set()) >= size:
            room.put(
                f"p{number}", node, size, importance, started=number, **({"app": "web"} if number in guarded else {})
            )
    if any(room.free(node, set()) >= cpu for node in room.sizes):
        return
    outcome = room.make_room(cpu, priority, a_budget("web", allowed=0, app="web"))
    weaker = {name for name, (_, pod) in room.pods.items() if pod["spec"]["priority"] < priority}
    possible = [node for node in room.sizes if room.free(node, weaker) >= cpu]
    if not possible:
        assert isinstance(outcome, Outlook) and not outcome.keeps_promise
        return
    node, victims = names(outcome)
    assert set(victims) <= weaker
    assert {room.pods[name][0] for name in victims} == {node}
    assert room.free(node, set(victims)) >= cpu, "enough"
    for name in victims:
        assert room.free(node, set(victims) - {name}) < cpu, "necessary"

    def harm(names: list[str]) -> Any:
        priorities = [room.pods[name][1]["spec"]["priority"] for name in names]
        violations = sum(bool(labels_of(room.pods[name][1])) for name in names)
        return violations, max(priorities), sum(one + 2**31 for one in priorities), len(names)

    for other in possible:
        assert harm(victims) <= harm(reprieved(room, other, weaker, cpu)), "the least harm"


def reprieved(room: Room, node: str, weaker: set[str], cpu: int) -> list[str]:
    """The victims on a node by Kubernetes' procedure, step by step: the guarded and the important come back first."""
    gone = {name for name in weaker if room.pods[name][0] == node}
    order = sorted(
        gone,
        key=lambda name: (
            not labels_of(room.pods[name][1]),
            -room.pods[name][1]["spec"]["priority"],
            room.pods[name][1]["status"]["startTime"],
        ),
    )
    for name in order:
        if room.free(node, gone - {name}) >= cpu:
            gone.discard(name)
    return sorted(gone)
