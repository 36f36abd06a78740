"""The scheduler may be killed after any write, any answer may be lost, any request may fail: the end is the same.

And on the way there: no pod on two nodes, no node overcommitted, no victim that was not less important than a pod that
needed its room, and at rest no half group.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.cluster import Cluster, a_node, a_pod, a_pod_group, of_group

from kontinuum.api.kubernetes.resources import LEASES, PODS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.api.machinery.status import internal_error
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import Faults
from kontinuum.client.transport.port import Request
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.scheduler import loop
from kontinuum.scheduler.settings import SchedulerSettings

CPUS = 4


class Watched(Cluster):
    """A cluster whose scheduler can be replaced, and that is looked at after every write."""

    def __init__(self) -> None:
        super().__init__()
        self._task: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.homes: dict[str, str] = {}
        """Where each pod, by uid, was first seen bound."""
        self.wrongs: list[str] = []
        """What must never happen and did; an error raised here would be the scheduler's to swallow."""
        self.then: Callable[[int], None] = lambda number: None
        self._honest = self.api.serve
        self.api.serve = self._serve  # type: ignore[method-assign]

    def _serve(self, request: Request) -> Object:
        if (
            request.method == "DELETE"
            and "/pods/" in request.path
            and b"gracePeriodSeconds" not in (request.body or b"")
        ):
            self._check_victim(request.path.rpartition("/")[2])
        answer = self._honest(request)
        if request.is_write:
            self._check()
        return answer

    def _check_victim(self, name: str) -> None:
        found = {name_of(pod): pod for pod in self.pods()}
        if name in found:
            condition = get_condition(found[name], "DisruptionTarget") or {}
            priority = found[name]["spec"].get("priority", 0)
            wanted = any(
                one["spec"].get("priority", 0) > priority and not one["spec"].get("nodeName") for one in found.values()
            )
            if condition.get("reason") != "PreemptionByScheduler" or not wanted:
                self.wrongs.append(f"{name} is asked to leave for nobody")

    def _check(self) -> None:
        used: Counter[str] = Counter()
        for pod in self.pods():
            if node := pod["spec"].get("nodeName"):
                if self.homes.setdefault(uid_of(pod), node) != node:
                    self.wrongs.append(f"{name_of(pod)} on two nodes")
                used[node] += int(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        if any(count > CPUS for count in used.values()):
            self.wrongs.append(f"overcommitted: {dict(used)}")

    def replace_scheduler(self) -> None:
        """Kill the scheduler here and now, so that nothing more of its is carried out, and start another."""
        suffered, self.faults = self.faults, Faults(delay=self.faults.delay, down=self.faults.down)
        if self._task is not None:
            suffered.down = True
            self._task.cancel()
        self.faults.errors, self.faults.lost, self.faults.writes = suffered.errors, suffered.lost, suffered.writes
        self.faults.after_write = suffered.after_write
        client = Client(self.api.channel(self.faults))
        self._task = asyncio.create_task(loop.run(client, VirtualClock(), SchedulerSettings()))
        self._tasks.append(self._task)

    async def stop(self) -> None:
        await cancel(*self._tasks)


async def a_day(cluster: Watched) -> None:
    """Pods that fill the nodes, a group that needs room, and one pod that needs more; nobody waits for anything."""
    await cluster.create(a_node("n1", cpu=str(CPUS)), a_node("n2", cpu=str(CPUS)))
    await cluster.create(*(a_pod(f"low-{number}", requests={"cpu": "1"}) for number in range(6)))
    await asyncio.sleep(4)
    await cluster.create(a_pod_group("g", 3))
    pods = [a_pod(f"g-{number}", requests={"cpu": "1"}, priority=5) for number in range(3)]
    await cluster.create(*(of_group(pod, "g") for pod in pods))
    await asyncio.sleep(4)
    await cluster.create(a_pod("high", requests={"cpu": "2"}, priority=10))
    await cluster.create(a_pod("late", requests={"cpu": "1"}))
    await asyncio.sleep(400)


def end_state(cluster: Watched) -> dict[str, Any]:
    pods = {name_of(pod): pod for pod in cluster.pods()}
    bound = {name for name, pod in pods.items() if pod["spec"].get("nodeName")}
    return {
        "low": sum(name.startswith("low") for name in bound),
        "group": sum(name.startswith("g-") for name in bound),
        "high": "high" in bound,
        "waiting": sorted(set(pods) - bound),
        "promises": sorted(name for name, pod in pods.items() if pod["status"].get("nominatedNodeName")),
        "leaving": sorted(name for name, pod in pods.items() if "deletionTimestamp" in pod["metadata"]),
    }


EXPECTED = {"low": 3, "group": 3, "high": True, "waiting": ["late"], "promises": [], "leaving": []}


def run_day(prepare: Callable[[Watched], None], *, delay: float = 0.001) -> tuple[dict[str, Any], list[int]]:
    """The end state of a day that began with ``prepare``, and the numbers of the scheduler's writes but for events."""

    async def main() -> tuple[dict[str, Any], list[int]]:
        cluster = Watched()
        cluster.faults.delay = delay
        agents = asyncio.create_task(cluster.agents(grace=2))
        prepare(cluster)
        cluster.replace_scheduler()
        try:
            await a_day(cluster)
            writes = [n for n, request in enumerate(cluster.faults.writes, 1) if "/events" not in request.path]
            settled = len(cluster.faults.writes)
            await asyncio.sleep(290)
            assert all("/events" in one.path for one in cluster.faults.writes[settled:]), "it never comes to rest"
            assert not cluster.wrongs
            return end_state(cluster), writes
        finally:
            await cluster.stop()
            await cancel(agents)

    return virtual_time.run(main)


def kill_at(*points: int) -> Callable[[Watched], None]:
    def prepare(cluster: Watched) -> None:
        left = set(points)

        def after_write(number: int, request: object) -> None:
            if number in left:
                left.discard(number)
                cluster.replace_scheduler()

        cluster.faults.after_write = after_write

    return prepare


def test_the_end_is_the_same_wherever_the_scheduler_is_killed() -> None:
    state, writes = run_day(lambda cluster: None)
    assert state == EXPECTED
    assert len(writes) > 20
    for point in writes:
        state, _ = run_day(kill_at(point))
        assert state == EXPECTED, f"killed after write {point}"


@pytest.mark.parametrize("what", ["lost", "refused"])
def test_the_end_is_the_same_whichever_write_goes_wrong(what: str) -> None:
    _, writes = run_day(lambda cluster: None)
    for point in writes:

        def prepare(cluster: Watched, point: int = point) -> None:
            if what == "lost":
                cluster.faults.lose_answer(point)
            else:
                cluster.faults.fail_write(point)

        state, _ = run_day(prepare)
        assert state == EXPECTED, f"write {point} was {what}"


FAULT = st.one_of(
    st.tuples(st.sampled_from(["error", "lost", "kill"]), st.integers(1, 60)),
    st.tuples(st.sampled_from(["drop", "compact", "down"]), st.integers(0, 20)),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(FAULT, max_size=10), st.sampled_from([0.001, 0.05, 0.7]))
def test_nothing_wrong_happens_under_any_mixture_of_faults(faults: list[tuple[str, int]], delay: float) -> None:
    def inflict(cluster: Watched, what: str) -> None:
        if what == "compact":
            cluster.api.compact()
        if what == "down":
            cluster.faults.down = True
            asyncio.get_running_loop().call_later(15, lift, cluster)
        cluster.api.drop_watches()

    def lift(cluster: Watched) -> None:
        cluster.faults.down = False

    def prepare(cluster: Watched) -> None:
        kill_at(*(when for what, when in faults if what == "kill"))(cluster)
        for what, when in faults:
            if what == "error":
                cluster.faults.fail_write(when, internal_error("a fault was injected"))
            elif what == "lost":
                cluster.faults.lose_answer(when)
            elif what != "kill":
                asyncio.get_running_loop().call_later(when, inflict, cluster, what)

    state, _ = run_day(prepare, delay=delay)
    # Who waits for room can be overtaken while nobody schedules: which of the unimportant are there is left open.
    assert (state["group"], state["high"], state["promises"], state["leaving"]) == (3, True, [], [])


def test_a_half_bound_group_is_finished_before_anybody_else_is_served() -> None:
    async def main() -> list[str]:
        cluster = Watched()
        cluster.replace_scheduler()
        await cluster.create(a_node("n1", cpu="3"), a_pod_group("g", 3))
        await asyncio.sleep(1)
        greedy = a_pod("greedy", requests={"cpu": "1"}, priority=1000, preemptionPolicy="Never")

        def after_write(number: int, request: Request) -> None:
            if request.path.endswith("/binding") and len(cluster.pods()) == 3:
                path = PODS.path("default")
                cluster.api.serve(Request("POST", path, {}, orjson.dumps(greedy), "application/json"))
                cluster.replace_scheduler()

        cluster.faults.after_write = after_write
        await cluster.create(*(of_group(a_pod(f"g-{n}", requests={"cpu": "1"}), "g") for n in range(3)))
        await asyncio.sleep(60)
        await cluster.stop()
        return cluster.nodes_of("g-0", "g-1", "g-2", "greedy")

    assert virtual_time.run(main) == ["n1", "n1", "n1", ""]


def test_a_half_bound_group_is_finished_on_the_nodes_that_were_planned() -> None:
    """Decided anew, the small one would go where only the large one fits, because the middle one is there already."""

    async def main() -> list[str]:
        cluster = Watched()
        cluster.replace_scheduler()
        await cluster.create(a_node("n1", cpu="6"), a_node("n2", cpu="4"), a_pod_group("g", 3))
        await asyncio.sleep(1)

        def after_write(number: int, request: Request) -> None:
            if request.path.endswith("/g-1/binding"):
                cluster.replace_scheduler()

        cluster.faults.after_write = after_write
        cluster.faults.refuse = lambda request: internal_error("") if request.path.endswith("/g-0/binding") else None
        sizes = {"g-0": "1", "g-1": "3", "g-2": "4"}
        await cluster.create(*(of_group(a_pod(name, requests={"cpu": cpu}), "g") for name, cpu in sizes.items()))
        await asyncio.sleep(60)
        await cluster.stop()
        return cluster.nodes_of(*sizes)

    assert virtual_time.run(main) == ["n1", "n1", "n2"]


def test_another_takes_over_when_the_leader_dies() -> None:
    async def main() -> tuple[list[str], set[str]]:
        cluster = Cluster()
        leaders = [asyncio.create_task(cluster_scheduler(cluster, name)) for name in ("one", "two")]
        await cluster.create(a_node("n1", cpu="4"), a_pod("before", requests={"cpu": "1"}))
        await asyncio.sleep(20)
        holder = (await lease(cluster))["holderIdentity"]
        dead = leaders[("one", "two").index(holder)]
        cluster.faults = faults[holder]
        cluster.faults.down = True  # a power cut: it cannot even give its Lease up
        await cancel(dead)
        await cluster.create(a_pod("after", requests={"cpu": "1"}))
        await asyncio.sleep(10)
        assert cluster.nodes_of("before", "after") == ["n1", ""]
        await asyncio.sleep(20)
        found = cluster.nodes_of("before", "after"), {holder, (await lease(cluster))["holderIdentity"]}
        await cancel(*leaders)
        return found

    faults: dict[str, Faults] = {"one": Faults(), "two": Faults()}

    async def cluster_scheduler(cluster: Cluster, name: str) -> None:
        client = Client(cluster.api.channel(faults[name]))
        await loop.run(client, VirtualClock(), SchedulerSettings(elect=True, identity=name))

    async def lease(cluster: Cluster) -> Object:
        found = await cluster.client.get(LEASES, "kube-scheduler", namespace="kube-system")
        spec: Object = found["spec"]
        return spec

    nodes, holders = virtual_time.run(main)
    assert (nodes, holders) == (["n1", "n1"], {"one", "two"})


def test_what_must_not_happen_would_be_seen() -> None:
    async def main() -> list[str]:
        cluster = Watched()
        await cluster.create(*(a_pod(name, requests={"cpu": "3"}, nodeName="n1") for name in ("one", "other")))
        await cluster.client.delete(PODS, "one", namespace="default")
        return cluster.wrongs

    assert virtual_time.run(main)[:2] == ["overcommitted: {'n1': 6}", "one is asked to leave for nobody"]
