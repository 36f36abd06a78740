"""Pod groups: enough of a group is placed together, or nothing of it."""

from __future__ import annotations

import asyncio

from tests.scheduler.cluster import Cluster, a_node, a_pod, a_pod_group, labelled, of_group, scenario

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import internal_error
from kontinuum.scheduler.groups import OLD_LABEL, OLD_MINIMUM, PODGROUPS

ONE_CPU = {"cpu": "1"}


def members(group: str, count: int, first: int = 0, **spec: object) -> list[Object]:
    pods = [a_pod(f"{group}-{number}", requests=ONE_CPU, **spec) for number in range(first, first + count)]
    return [of_group(pod, group) for pod in pods]


def names(group: str, count: int) -> list[str]:
    return [f"{group}-{number}" for number in range(count)]


def test_a_group_that_fits_is_placed_and_one_that_does_not_takes_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="3"), a_node("n2", cpu="2"))
        await cluster.create(a_pod_group("large", 6), *members("large", 6))
        await asyncio.sleep(20)
        assert cluster.nodes_of(*names("large", 6)) == [""] * 6
        told = {(await cluster.condition(name))["message"] for name in names("large", 6)}
        assert told == {
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available:"
            " 2 No preemption victims found for incoming pod.",
            "0/2 nodes are available: PodGroup default/large gets rejected due to Pod large-5 is unschedulable even"
            " after PostFilter.",
        }
        await cluster.create(a_pod_group("small", 4), *members("small", 4))
        await asyncio.sleep(20)
        assert "" not in cluster.nodes_of(*names("small", 4))
        await cluster.create(a_node("n3", cpu="5"))
        await asyncio.sleep(20)
        assert "" not in cluster.nodes_of(*names("large", 6))

    scenario(main, grace=1)


def test_a_group_waits_for_its_pods_and_for_its_object() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="8"), *members("g", 2))
        await asyncio.sleep(5)
        assert (await cluster.condition("g-0"))["message"] == (
            "0/1 nodes are available: PodGroup not found."
        )  # fmt: skip
        await cluster.create(a_pod_group("g", 3))
        await asyncio.sleep(5)
        assert cluster.nodes_of(*names("g", 2)) == ["", ""]
        for name in names("g", 2):
            assert (await cluster.condition(name))["message"].startswith(
                f"0/1 nodes are available: pre-filter pod {name} cannot find enough sibling pods, "
                "current pods number: 2, minMember of group: 3."
            )
        await cluster.create(*members("g", 1, first=2))
        await asyncio.sleep(20)
        assert cluster.nodes_of(*names("g", 3)) == ["n1"] * 3
        await cluster.create(*members("g", 1, first=3))
        await asyncio.sleep(5)
        assert cluster.nodes_of("g-3") == ["n1"]  # more than the minimum come one by one

    scenario(main, grace=1)


def test_without_the_crd_the_label_means_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="8"), *members("g", 1))
        await asyncio.sleep(5)
        assert cluster.nodes_of("g-0") == ["n1"]

    scenario(main, with_groups=False)


def test_pods_can_say_themselves_how_many_they_must_be() -> None:
    async def main(cluster: Cluster) -> None:
        labels = {OLD_LABEL: "g", OLD_MINIMUM: "3"}
        await cluster.create(a_node("n1", cpu="8"))
        for number in range(3):
            await asyncio.sleep(5)
            assert cluster.nodes_of(*names("g", number)) == [""] * number
            await cluster.create(labelled(a_pod(f"g-{number}"), **labels))
        await asyncio.sleep(20)
        assert cluster.nodes_of(*names("g", 3)) == ["n1"] * 3

    scenario(main, with_groups=False)


def test_an_important_group_makes_room_for_all_of_it_or_asks_nobody_to_leave() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="2"), a_node("n2", cpu="2"))
        await cluster.create(*(a_pod(f"low-{number}", requests=ONE_CPU) for number in range(3)))
        await asyncio.sleep(2)
        await cluster.create(a_pod_group("five", 5), *members("five", 5, priority=10))
        await asyncio.sleep(30)
        assert "gone" not in cluster.nodes_of("low-0", "low-1", "low-2")
        assert cluster.nodes_of(*names("five", 5)) == [""] * 5
        await cluster.create(a_pod_group("three", 3), *members("three", 3, priority=10))
        await asyncio.sleep(3)
        assert cluster.nodes_of(*names("three", 3)) == [""] * 3
        await cluster.create(a_pod("thief", requests=ONE_CPU))  # the place that was free already is promised too
        await asyncio.sleep(60)
        assert cluster.nodes_of("low-0", "low-1", "low-2").count("gone") == 2
        assert "" not in cluster.nodes_of(*names("three", 3))
        assert cluster.nodes_of("thief") == [""]

    scenario(main, grace=8)


def test_a_group_keeps_its_places_while_its_bindings_fail() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="3"))
        await asyncio.sleep(1)
        cluster.faults.refuse = lambda request: (
            internal_error("not now") if request.path.endswith("/g-1/binding") else None
        )  # fmt: skip
        await cluster.create(a_pod_group("g", 3), *members("g", 3))
        await asyncio.sleep(2)
        await cluster.create(a_pod("thief", requests=ONE_CPU))
        await asyncio.sleep(20)
        assert cluster.nodes_of(*names("g", 3)) == ["n1", "", "n1"]
        cluster.faults.refuse = lambda request: None
        await asyncio.sleep(20)
        assert cluster.nodes_of(*names("g", 3), "thief") == ["n1", "n1", "n1", ""]

    scenario(main, grace=1)


def test_after_the_groups_time_its_places_are_free_again() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="2"))
        await asyncio.sleep(1)
        cluster.faults.refuse = lambda request: (
            internal_error("not now") if request.path.endswith("/g-1/binding") else None
        )  # fmt: skip
        await cluster.create(a_pod_group("g", 2, scheduleTimeoutSeconds=10), *members("g", 2))
        await asyncio.sleep(5)
        await cluster.create(a_pod("other", requests=ONE_CPU))
        await asyncio.sleep(60)
        await cluster.client.delete(PODS, "g-1", namespace="default", grace_seconds=0)
        await asyncio.sleep(15)
        assert cluster.nodes_of("other") == ["n1"]

    scenario(main, grace=1)


def test_the_status_of_a_group_says_how_far_it_is() -> None:
    async def main(cluster: Cluster) -> None:
        async def status() -> Object:
            found = await cluster.client.get(PODGROUPS, "g", namespace="default")
            return {key: value for key, value in found["status"].items() if key != "scheduleStartTime"}

        counts = {"running": 0, "succeeded": 0, "failed": 0}
        await cluster.create(a_node("n1", cpu="1"), a_pod_group("g", 2), *members("g", 1))
        await asyncio.sleep(5)
        assert await status() == {"phase": "Pending", **counts}
        await cluster.create(*members("g", 1, first=1))
        await asyncio.sleep(5)
        assert await status() == {"phase": "Scheduling", **counts}
        await cluster.create(a_node("n2", cpu="1"))
        await asyncio.sleep(20)
        assert await status() == {"phase": "Running", **counts, "running": 2}
        await cluster.finish("g-0")
        await cluster.finish("g-1")
        await asyncio.sleep(5)
        assert await status() == {"phase": "Finished", **counts, "succeeded": 2}

    scenario(main, grace=1)
