"""Preemption, as Kubernetes does and words it: who is asked to leave, what is written, and what never happens."""

from __future__ import annotations

import asyncio

from tests.scheduler.cluster import Cluster, a_budget, a_node, a_pod, labelled, scenario

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.api.machinery.status import ApiError, internal_error
from kontinuum.client.transport.port import Request
from kontinuum.scheduler.settings import ProfileSettings, SchedulerSettings

ONE_CPU = {"cpu": "1"}


def test_a_more_important_pod_gets_the_room_of_a_less_important_one() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU, priority=1))
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(2)
        high, low = await cluster.pod("high"), await cluster.pod("low")
        assert high["status"]["nominatedNodeName"] == "n1"
        assert (await cluster.condition("high"))["message"] == "0/1 nodes are available: 1 Insufficient cpu."
        told = await cluster.condition("low", "DisruptionTarget")
        assert (told["status"], told["reason"]) == ("True", "PreemptionByScheduler")
        assert (told["observedGeneration"], (await cluster.condition("high"))["observedGeneration"]) == (1, 1)
        assert told["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        assert "deletionTimestamp" in low["metadata"]
        assert ("Preempted", f"Preempted by pod {uid_of(high)} on node n1", 1) in await cluster.events("low")
        await asyncio.sleep(20)
        assert cluster.nodes_of("low", "high") == ["gone", "n1"]

    scenario(main, grace=5)


def test_while_its_victims_take_their_time_a_pod_says_what_it_waits_for() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU))
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(2)
        await cluster.client.patch(NODES, "n1", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(10)
        assert (await cluster.condition("high"))["message"] == (
            "0/1 nodes are available: 1 Insufficient cpu."
            " preemption: not eligible due to a terminating pod on the nominated node."
        )
        assert (await cluster.pod("high"))["status"]["nominatedNodeName"] == "n1"

    scenario(main, grace=100)


def test_the_promised_room_is_kept_from_the_less_important_and_not_from_the_more_important() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU))
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(2)
        await cluster.create(a_pod("middle", requests=ONE_CPU, priority=5))
        await asyncio.sleep(30)
        assert cluster.nodes_of("low", "middle", "high") == ["gone", "", "n1"]

        await cluster.create(a_pod("higher", requests=ONE_CPU, priority=20))
        await asyncio.sleep(2)
        await cluster.create(a_pod("highest", requests=ONE_CPU, priority=30))
        await asyncio.sleep(60)
        assert cluster.nodes_of("high", "higher", "highest") == ["gone", "", "n1"]
        assert "nominatedNodeName" not in (await cluster.pod("higher"))["status"]

    scenario(main, grace=10)


def test_nobody_is_asked_to_leave_in_vain() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="2"), a_node("n2", cpu="8", unschedulable=True))
        await cluster.create(
            a_pod("low", requests=ONE_CPU), a_pod("equal", requests={"cpu": "500m"}, priority=10),
        )  # fmt: skip
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests={"cpu": "2"}, priority=10))
        await cluster.create(a_pod("never", requests={"cpu": "2"}, priority=20, preemptionPolicy="Never"))
        await asyncio.sleep(30)
        assert cluster.nodes_of("low", "equal", "high", "never") == ["n1", "n1", "", ""]
        assert (await cluster.condition("high"))["message"] == (
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
            " preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling."
        )
        assert (await cluster.condition("never"))["message"].endswith(
            ". preemption: not eligible due to preemptionPolicy=Never."
        )

    scenario(main, grace=1)


def test_the_choice_of_victims_hurts_least() -> None:
    """Budgets first, then how important the victims are, then how many."""

    async def main(cluster: Cluster) -> None:
        await cluster.create(a_budget("web", allowed=0, app="web"))
        for node in ("n1", "n2", "n3", "n4"):
            await cluster.create(a_node(node, cpu="2"))
        await cluster.create(
            labelled(a_pod("guarded", nodeName="n1", requests={"cpu": "2"}), app="web"),
            a_pod("important", nodeName="n2", requests={"cpu": "2"}, priority=5),
            a_pod("many-1", nodeName="n3", requests=ONE_CPU),
            a_pod("many-2", nodeName="n3", requests=ONE_CPU),
            a_pod("few", nodeName="n4", requests={"cpu": "2"}),
        )
        await asyncio.sleep(1)
        expected = ["few", "many-1", "important", "guarded"]
        for number, victim in enumerate(expected):
            await cluster.create(a_pod(f"high-{number}", requests={"cpu": "2"}, priority=10))
            await asyncio.sleep(30)
            assert cluster.nodes_of(victim) == ["gone"], victim
            assert set(cluster.nodes_of(*expected[number + 1 :])).isdisjoint({"gone"}), victim
        assert sorted(cluster.nodes_of(*(f"high-{number}" for number in range(4)))) == ["n1", "n2", "n3", "n4"]

    scenario(main, grace=1)


def test_who_fits_beside_the_newcomer_stays() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="4"))
        sizes = {"a": "1", "b": "2", "c": "1"}
        await cluster.create(*(a_pod(name, requests={"cpu": cpu}, priority=3) for name, cpu in sizes.items()))
        await asyncio.sleep(5)
        await cluster.create(a_pod("high", requests={"cpu": "2"}, priority=10))
        await asyncio.sleep(30)
        # The longest-standing pods come back first, as long as there is room.
        assert cluster.nodes_of("a", "b", "c", "high") == ["n1", "gone", "n1", "n1"]

    scenario(main, grace=1)


def test_a_victim_that_cannot_be_reached_is_asked_again() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU))
        await asyncio.sleep(1)
        refusals = 3

        def refuse(request: Request) -> ApiError | None:
            nonlocal refusals
            if request.method != "DELETE" or not refusals:
                return None
            refusals -= 1
            return internal_error("not now")

        cluster.faults.refuse = refuse
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(60)
        assert cluster.nodes_of("low", "high") == ["gone", "n1"]

    scenario(main, grace=1)


def test_a_pod_that_finds_room_elsewhere_gives_its_promise_back() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU))
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(2)
        await cluster.create(a_node("n2", cpu="1"))
        await asyncio.sleep(5)
        assert cluster.nodes_of("high") == ["n2"]
        await asyncio.sleep(60)
        await cluster.create(a_pod("next", requests=ONE_CPU))
        await asyncio.sleep(5)
        assert cluster.nodes_of("low", "next") == ["gone", "n1"]

    scenario(main, grace=30)


def test_a_scheduler_with_preemption_disabled_asks_nobody_to_leave() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("low", requests=ONE_CPU))
        await asyncio.sleep(1)
        await cluster.create(a_pod("high", requests=ONE_CPU, priority=10))
        await asyncio.sleep(30)
        assert cluster.nodes_of("low", "high") == ["n1", ""]
        assert (await cluster.condition("high"))["message"] == "0/1 nodes are available: 1 Insufficient cpu."

    polite = ProfileSettings(scheduler_name="default-scheduler", disabled=("DefaultPreemption",))
    scenario(main, SchedulerSettings(profiles=(polite,)), grace=1)


def preempted(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]


def test_many_important_pods_do_not_all_ask_the_same_victim() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(*(a_node(f"n{number}", cpu="1") for number in range(5)))
        await cluster.create(*(a_pod(f"low-{number}", requests=ONE_CPU) for number in range(5)))
        await asyncio.sleep(2)
        await cluster.create(*(a_pod(f"high-{number}", requests=ONE_CPU, priority=1) for number in range(3)))
        await asyncio.sleep(1)
        assert len(preempted(cluster.pods())) == 3
        await asyncio.sleep(60)
        assert len(cluster.pods()) == 5
        assert "" not in cluster.nodes_of("high-0", "high-1", "high-2")

    scenario(main, grace=10)
