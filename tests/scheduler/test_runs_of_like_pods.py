"""Like pods are placed in one pass: nobody can tell from what becomes of them that they were not decided one by one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.cluster import Cluster, a_budget, a_node, a_pod, a_pod_group, labelled, of_group

from kontinuum.api.kubernetes.resources import EVENTS, NODES, PODS
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler.deciding import Decision
from kontinuum.scheduler.groups import Group
from kontinuum.scheduler.loop import TURN, Scheduler
from kontinuum.scheduler.settings import ProfileSettings, SchedulerSettings

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
WAVE_SECONDS = 20.5
"""Between two waves of pods; a half, because the schedulers look up at whole seconds only."""
TWO = SchedulerSettings(
    elect=False,
    # Nobody is tried again: timers that are due in the same moment go off in any order.
    backoff_initial_seconds=1000,
    backoff_maximum_seconds=1000,
    profiles=(
        ProfileSettings(scheduler_name="default-scheduler"),
        ProfileSettings(scheduler_name="packs", fills_nodes=True),
    ),
)


class Punctual(Scheduler):
    """Looks up at whole seconds: what it sees then does not depend on how long the look before took."""

    def __init__(self, cluster: Cluster, *, turn: int) -> None:
        client = cluster.api.client()
        super().__init__(client, VirtualClock(), TWO, chance=random.Random(1), turn=turn)
        self.decided: list[tuple[str, str, str]] = []
        """Every pod that was decided, in order: its name, its node and what it was told."""
        self.in_runs = 0
        """How many pods were decided in the run of one before them."""
        queue = self._knowledge.queue
        wait_active = queue.wait_active

        async def wait() -> None:
            await wait_active()
            await asyncio.sleep(-asyncio.get_running_loop().time() % 1.0)

        queue.wait_active = wait  # type: ignore[method-assign]

    def _decide_like_the_last(self, pod: Object) -> Decision | None:
        before = self._run
        decision = super()._decide_like_the_last(pod)
        self.in_runs += before is not None and before is self._run and decision is not None
        return decision

    @property
    def changes(self) -> int:
        """How often a pod has been counted on a node, or no longer."""
        return self._knowledge.snapshot.version

    def _carry_out(self, decision: Decision) -> None:
        self._note(decision)
        super()._carry_out(decision)

    def _carry_out_together(self, decisions: Sequence[Decision], group: Group | None) -> None:
        for one in decisions:
            self._note(one)
        super()._carry_out_together(decisions, group)

    def _note(self, decision: Decision) -> None:
        victims = decision.preemption.victims if decision.preemption else ()
        told = decision.refusal.message if decision.refusal else ""
        self.decided.append((name_of(decision.pod), decision.node, f"{told} {[one.key for one in victims]}"))


class OneByOne(Punctual):
    """The reference."""

    def _decide_like_the_last(self, pod: Object) -> Decision | None:
        return None


Waves = list[list[Object]]


def lived(kind: type[Punctual], turn: int, nodes: list[Object], waves: Waves) -> tuple[Punctual, list[Any]]:
    """A scheduler and what it decided, and what people see in the end: events and pods."""

    async def main() -> tuple[Punctual, list[Any]]:
        cluster = Cluster()
        await cluster.create(*nodes, a_budget("few", allowed=1, app="a"), a_pod_group("g", 3))
        tasks = [asyncio.create_task(cluster.agents(grace=3))]
        scheduler = kind(cluster, turn=turn)
        try:
            for number, wave in enumerate(waves):
                await cluster.create(*wave)
                if number == 0:
                    tasks.append(asyncio.create_task(scheduler.run()))
                await asyncio.sleep(WAVE_SECONDS)
                gone = [name_of(pod) for pod in cluster.pods() if labels_of(pod).get("app") == "b"]
                for name in gone[:2]:
                    await cluster.client.delete(PODS, name, namespace="default", grace_seconds=0)
            await cluster.client.patch(NODES, name_of(nodes[0]), {"spec": {"unschedulable": True}})
            await asyncio.sleep(WAVE_SECONDS)
            events = (await cluster.client.list(EVENTS, namespace="default")).items
            told = sorted((one["involvedObject"]["name"], one["reason"], one["message"]) for one in events)
            # Whether a victim's binding had been answered when it was preempted, in the same second, is chance.
            victims = {name for name, reason, _ in told if reason == "Preempted"}
            told = [one for one in told if one[1] != "Scheduled" or one[0] not in victims]
            pods = [(name_of(pod), pod["spec"].get("nodeName"), pod["status"]) for pod in cluster.pods()]
            return scheduler, [told, pods]
        finally:
            await cancel(*tasks)

    return virtual_time.run(main)


def spread(hard: bool) -> dict[str, Any]:
    when = "DoNotSchedule" if hard else "ScheduleAnyway"
    selector = {"matchLabels": {"app": "a"}}
    return {"topologySpreadConstraints": [
        {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": when, "labelSelector": selector}
    ]}  # fmt: skip


def apart() -> dict[str, Any]:
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": "a"}}}
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


SHAPES: list[dict[str, Any]] = [
    {},
    spread(hard=True),
    spread(hard=False),
    apart(),
    {"nodeSelector": {"disk": "ssd"}},
    {"schedulerName": "packs"},
    {"priority": 10},
    {"priority": 10, "preemptionPolicy": "Never"},
]


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Object], Waves]:
    nodes = [
        a_node(
            f"n{number}", cpu=draw(st.sampled_from(["1", "2", "4"])),
            labels={ZONE: f"z{number % 3}", "disk": draw(st.sampled_from(["ssd", "hdd"]))},
        )
        for number in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    waves = []
    for wave in range(draw(st.integers(1, 3))):
        pods = []
        for number in range(draw(st.integers(1, 4))):
            shape, cpu = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(["100m", "500m", "1"]))
            app, is_group = draw(st.sampled_from("ab")), draw(st.integers(0, 5)) == 0
            for one in range(draw(st.sampled_from([1, 2, 5, 9]))):
                pod = a_pod(f"{wave}-{number}-{one}", requests={"cpu": cpu}, **shape)
                pods.append(of_group(pod, "g") if is_group else labelled(pod, app=app))
        # Sets take turns, or come one after the other.
        waves.append(draw(st.permutations(pods)) if draw(st.booleans()) else pods)
    return nodes, waves


@settings(max_examples=12, deadline=None)
@given(clusters(), st.sampled_from([2, 5, TURN]))
def test_runs_are_decided_as_their_pods_one_by_one(cluster: tuple[list[Object], Waves], turn: int) -> None:
    scheduler, end = lived(Punctual, turn, *cluster)
    reference, expected = lived(OneByOne, 1, *cluster)
    assert scheduler.decided == reference.decided
    assert end == expected


def test_like_pods_are_decided_in_runs_indeed() -> None:
    pods = [a_pod(f"p{number}", requests={"cpu": "100m"}) for number in range(20)]
    scheduler, _ = lived(Punctual, TURN, [a_node("n1"), a_node("n2")], [pods])
    assert [bool(node) for _, node, _ in scheduler.decided] == [True] * 20
    assert scheduler.in_runs == 19


def test_what_was_decided_changes_nothing_when_the_api_shows_it() -> None:
    """Though a pod is labelled with the zone of its node then: the nodes need not be asked again because of that."""
    pods = [a_pod(f"p{number}", requests={"cpu": "100m"}) for number in range(20)]
    nodes = [a_node("n1", labels={ZONE: "z1"}), a_node("n2")]
    scheduler, (_, after) = lived(Punctual, TURN, nodes, [pods])
    assert {node for _, node, _ in after} == {"n1", "n2"}
    assert scheduler.changes == 20
