"""The scheduler as users meet it: pods get nodes, and those that do not are told why and are not forgotten."""

from __future__ import annotations

import asyncio

from tests.scheduler.cluster import Cluster, a_node, a_pod, scenario

from kontinuum.api.kubernetes.resources import EVENTS, LEASES, NODES, PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import conflict, internal_error
from kontinuum.client.transport.port import Request
from kontinuum.scheduler.settings import SchedulerSettings

TAINT = {"key": "dedicated", "value": "database", "effect": "NoSchedule"}


def test_a_pod_is_bound_and_told_so() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"), a_pod("web"))
        await asyncio.sleep(0.5)
        assert await cluster.node_of("web") == "n1"
        assert (await cluster.condition("web"))["status"] == "True"
        assert await cluster.events("web") == [("Scheduled", "Successfully assigned default/web to n1", 1)]

    scenario(main)


def test_events_say_who_did_what() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"), a_pod("web"), a_pod("large", requests={"cpu": "9"}))
        await asyncio.sleep(1)
        found = {one["reason"]: one for one in (await cluster.client.list(EVENTS, namespace="default")).items}
        assert {reason: (one["type"], one["action"]) for reason, one in found.items()} == {
            "Scheduled": ("Normal", "Binding"),
            "FailedScheduling": ("Warning", "Scheduling"),
        }
        for one in found.values():
            assert one["reportingComponent"] == one["source"]["component"] == "default-scheduler"
            assert one["reportingInstance"].startswith("default-scheduler-")

    scenario(main)


def test_a_pod_that_fits_nowhere_is_told_why_in_kubernetes_words() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(
            a_node("small", cpu="500m"),
            a_node("tainted", taints=[TAINT]),
            a_node("other", taints=[TAINT]),
            a_pod("web", requests={"cpu": "1"}),
        )
        await asyncio.sleep(0.5)
        message = (
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s)."
            " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        condition = await cluster.condition("web")
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == message
        assert await cluster.events("web") == [("FailedScheduling", message, 1)]

    scenario(main)


def test_a_pod_that_fitted_nowhere_gets_the_node_that_comes_later() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_pod("web"))
        await asyncio.sleep(60)
        assert (await cluster.condition("web"))["message"] == "no nodes available to schedule pods"
        await cluster.create(a_node("n1"))
        await asyncio.sleep(2)
        assert await cluster.node_of("web") == "n1"

    scenario(main)


def test_room_that_a_pod_leaves_goes_to_one_that_waits() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("first", requests={"cpu": "1"}))
        await asyncio.sleep(1)
        await cluster.create(a_pod("second", requests={"cpu": "1"}), a_pod("third", requests={"cpu": "1"}))
        await asyncio.sleep(60)
        assert [await cluster.node_of(name) for name in ("second", "third")] == ["", ""]
        assert "1 No preemption victims found for incoming pod" in (await cluster.condition("second"))["message"]
        await cluster.finish("first")
        await asyncio.sleep(15)
        assert [await cluster.node_of(name) for name in ("second", "third")] == ["n1", ""]
        await cluster.client.delete(PODS, "second", namespace="default", grace_seconds=0)
        await asyncio.sleep(15)
        assert await cluster.node_of("third") == "n1"

    scenario(main)


def test_a_node_that_loses_its_taint_takes_who_waits() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", taints=[TAINT]), a_pod("web"))
        await asyncio.sleep(60)
        await cluster.client.patch(NODES, "n1", {"spec": {"taints": None}})
        await asyncio.sleep(15)
        assert await cluster.node_of("web") == "n1"

    scenario(main)


def test_a_heartbeat_is_no_reason_to_look_again() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("web", requests={"cpu": "2"}))
        for beat in range(20):
            await asyncio.sleep(10)
            patch = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": str(beat)}]}}
            await cluster.client.patch(NODES, "n1", patch, subresource="status")
        assert [count for _, _, count in await cluster.events("web")] == [1]

    scenario(main)


def test_pods_that_come_together_share_the_nodes_and_never_overfill_one() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(*(a_node(f"n{number}", cpu="2") for number in range(4)))
        await asyncio.sleep(1)
        await cluster.create(*(a_pod(f"web-{number}", requests={"cpu": "500m"}) for number in range(20)))
        await asyncio.sleep(30)
        nodes = [await cluster.node_of(f"web-{number}") for number in range(20)]
        assert {node: nodes.count(node) for node in nodes} == {"n0": 4, "n1": 4, "n2": 4, "n3": 4, "": 4}

    scenario(main)


def test_the_more_important_pod_is_served_first() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"), a_pod("holder", requests={"cpu": "1"}))
        await asyncio.sleep(1)
        await cluster.create(a_pod("low", requests={"cpu": "1"}, priority=1))
        await cluster.create(a_pod("high", requests={"cpu": "1"}, priority=1000))
        await asyncio.sleep(60)
        await cluster.finish("holder")
        await asyncio.sleep(15)
        assert [await cluster.node_of(name) for name in ("low", "high")] == ["", "n1"]

    scenario(main)


def test_gated_foreign_and_dying_pods_are_left_alone() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(
            a_node("n1"),
            a_pod("gated", schedulingGates=[{"name": "example.com/wait"}]),
            a_pod("foreign", schedulerName="another"),
        )
        await asyncio.sleep(30)
        assert [await cluster.node_of(name) for name in ("gated", "foreign")] == ["", ""]
        await cluster.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, namespace="default")
        await asyncio.sleep(1)
        assert [await cluster.node_of(name) for name in ("gated", "foreign")] == ["n1", ""]
        assert await cluster.events("foreign") == []

    scenario(main)


def test_a_refused_binding_gives_its_room_back_and_is_tried_again() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(1)
        cluster.faults.fail_write(1, conflict(PODS, "web", "not now"))
        await cluster.create(a_pod("web", requests={"cpu": "1"}))
        await asyncio.sleep(5)
        assert await cluster.node_of("web") == "n1"

    scenario(main)


def test_a_binding_whose_answer_is_lost_is_neither_doubled_nor_forgotten() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(1)
        cluster.faults.lose_answer(1)
        await cluster.create(a_pod("web", requests={"cpu": "1"}), a_pod("other", requests={"cpu": "1"}))
        await asyncio.sleep(120)
        assert [await cluster.node_of(name) for name in ("web", "other")] == ["n1", ""]

    scenario(main)


def test_room_kept_for_a_refused_binding_goes_to_another_pod() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(1)
        cluster.faults.refuse = lambda request: (
            conflict(PODS, "web", "never") if request.path.endswith("/web/binding") else None
        )
        await cluster.create(a_pod("web", requests={"cpu": "1"}), a_pod("other", requests={"cpu": "1"}))
        await asyncio.sleep(30)
        assert [await cluster.node_of(name) for name in ("web", "other")] == ["", "n1"]

    scenario(main)


def test_a_binding_that_never_reached_the_api_is_made_again() -> None:
    """The outcome is unknown to the scheduler: the room stays taken, but not from the pod itself."""

    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(1)
        cluster.faults.delay = 2.0
        await cluster.create(a_pod("web", requests={"cpu": "1"}))
        await asyncio.sleep(1)  # the binding is on its way
        cluster.faults.down = True
        await asyncio.sleep(1.5)
        assert await cluster.node_of("web") == ""
        cluster.faults.down, cluster.faults.delay = False, 0.0
        await asyncio.sleep(15)
        assert await cluster.node_of("web") == "n1"

    scenario(main)


def test_room_is_not_given_away_while_nothing_is_heard_of_it() -> None:
    """The answer to a binding is lost, and no watch shows it: only asking can tell."""

    async def main(cluster: Cluster) -> None:
        requests = {"cpu": "1"}
        await cluster.create(a_pod("web", requests=requests, priority=1), a_pod("other", requests=requests))
        await asyncio.sleep(30)

        def deafen(number: int, request: Request) -> None:
            if request.path.endswith("/binding"):
                cluster.faults.lost.add(number)
                cluster.faults.refuse = lambda one: internal_error("") if one.path.endswith("/pods") else None
                cluster.api.drop_watches()

        cluster.faults.after_write = deafen
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(500)
        assert cluster.nodes_of("web", "other") == ["n1", ""]

    scenario(main)


def test_an_api_that_is_away_delays_and_loses_nothing() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1"))
        await asyncio.sleep(1)
        cluster.faults.down = True
        await cluster.create(*(a_pod(f"web-{number}") for number in range(10)))
        await asyncio.sleep(60)
        cluster.faults.down = False
        cluster.api.drop_watches()
        await asyncio.sleep(60)
        assert {await cluster.node_of(f"web-{number}") for number in range(10)} == {"n1"}

    scenario(main)


def test_a_binding_that_never_shows_is_taken_back() -> None:
    """The API server answered 201 and then lost it: a store restored from a backup, say."""

    async def main(cluster: Cluster) -> None:
        await cluster.create(a_node("n1", cpu="1"))
        await asyncio.sleep(1)
        swallowed: list[Request] = []
        honest = cluster.api.serve

        def serve(request: Request) -> Object:
            if request.path.endswith("/web/binding") and not swallowed:
                swallowed.append(request)
                return {"kind": "Status", "status": "Success"}
            return honest(request)

        cluster.api.serve = serve
        await cluster.create(a_pod("web", requests={"cpu": "1"}))
        await asyncio.sleep(10)
        assert swallowed and await cluster.node_of("web") == ""
        await asyncio.sleep(30)
        assert await cluster.node_of("web") == "n1"

    scenario(main)


def test_with_election_nothing_is_scheduled_while_another_leads() -> None:
    async def main(cluster: Cluster) -> None:
        other = {"holderIdentity": "another", "leaseDurationSeconds": 15}
        name = {"name": "kube-scheduler", "namespace": "kube-system"}
        lease = await cluster.client.create(LEASES, {"metadata": name, "spec": other})
        await cluster.create(a_node("n1"), a_pod("web"))
        for _ in range(10):
            await asyncio.sleep(5)
            lease["spec"]["renewTime"] = str(lease["metadata"]["resourceVersion"])  # any change is a sign of life
            lease = await cluster.client.update(LEASES, lease)
            assert await cluster.node_of("web") == ""
        await asyncio.sleep(30)  # the other one is silent now
        assert await cluster.node_of("web") == "n1"

    scenario(main, SchedulerSettings(elect=True, identity="us"))
