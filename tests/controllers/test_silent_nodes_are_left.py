"""A node that falls silent is marked, avoided and left; a controller that has gone deaf leaves nobody."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.controllers.cluster import NODE_NAMES, Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, EVENTS, NODES, PODS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.client.rest import Client
from kontinuum.client.transport.port import Request, Response, Transport
from kontinuum.controllers import manager
from kontinuum.controllers.lib.pods import is_ready, node_of
from kontinuum.controllers.lib.zones import Limits, rates
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation.clock import parse_rfc3339
from kontinuum.foundation.tasks import cancel


def ready(cluster: Cluster, name: str) -> str:
    node = cluster.api.storage.get(NODES, name)
    assert node is not None
    condition = get_condition(node, "Ready")
    assert condition is not None
    return str(condition["status"])


def taints(cluster: Cluster, name: str) -> set[tuple[str, str]]:
    node = cluster.api.storage.get(NODES, name)
    assert node is not None
    return {(one["key"].partition("/")[2], one["effect"]) for one in node.get("spec", {}).get("taints") or ()}


def pods_on(cluster: Cluster, name: str) -> list[Object]:
    return [pod for pod in cluster.everything(PODS) if node_of(pod) == name]


def test_a_node_that_speaks_is_left_alone() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(3600)
        assert {ready(cluster, name) for name in NODE_NAMES} == {"True"}
        assert all(taints(cluster, name) == set() for name in NODE_NAMES)

    scenario(main)


def test_a_silent_node_is_unknown_after_its_grace_and_not_earlier() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(60)
        cluster.nodes.silent.add("node-1")
        await cluster.settle(35)
        assert ready(cluster, "node-1") == "True"
        await cluster.settle(20)
        assert ready(cluster, "node-1") == "Unknown"
        assert taints(cluster, "node-1") == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
        cluster.nodes.silent.clear()
        await cluster.settle(30)
        assert ready(cluster, "node-1") == "True"
        assert taints(cluster, "node-1") == set()

    scenario(main)


def test_only_of_a_node_that_was_ready_it_is_told_that_it_is_not() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(NODES, {"metadata": {"name": "mute"}})
        cluster.nodes.silent.add("node-1")
        await cluster.settle(100)
        assert (ready(cluster, "mute"), ready(cluster, "node-1")) == ("Unknown", "Unknown")
        told = [event for event in cluster.everything(EVENTS) if event["reason"] == "NodeNotReady"]
        assert [one["involvedObject"]["name"] for one in told] == ["node-1"]

    scenario(main)


def test_pods_of_a_silent_node_are_not_ready_at_once_and_deleted_after_300_seconds() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=9))
        await cluster.settle()
        before = pods_on(cluster, "node-1")
        assert before
        cluster.nodes.silent.add("node-1")
        await cluster.settle(60)
        assert not any(is_ready(pod) for pod in pods_on(cluster, "node-1"))
        await cluster.settle(250)
        assert not any("deletionTimestamp" in pod["metadata"] for pod in pods_on(cluster, "node-1"))
        await cluster.settle(60)
        evicted = [pod for pod in pods_on(cluster, "node-1") if name_of(pod) in {name_of(one) for one in before}]
        assert len(evicted) == len(before)
        assert all("deletionTimestamp" in pod["metadata"] for pod in evicted)
        said = [get_condition(pod, kind) or {} for pod in evicted for kind in ("DisruptionTarget", "Ready")]
        assert {one.get("observedGeneration") for one in said} == {1}

    scenario(main)


def test_a_pods_own_toleration_decides() -> None:
    async def main(cluster: Cluster) -> None:
        key = "node.kubernetes.io/unreachable"
        wishes = {"never": [], "soon": [10], "always": [None]}
        for name, seconds in wishes.items():
            tolerations = [
                {"key": key, "operator": "Exists", "effect": "NoExecute"} | ({"tolerationSeconds": one} if one else {})
                for one in seconds
            ]
            spec = {"nodeName": "node-1", "containers": [{"name": "main", "image": "i"}], "tolerations": tolerations}
            await cluster.client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await cluster.settle(60)
        cluster.nodes.silent.add("node-1")

        def leaving() -> set[str]:
            return {name_of(pod) for pod in cluster.everything(PODS) if "deletionTimestamp" in pod["metadata"]}

        await cluster.settle(75)
        assert leaving() == {"soon"}
        await cluster.settle(1000)
        assert leaving() == {"soon", "never"}

    scenario(main)


def test_pods_of_a_node_that_comes_back_in_time_are_told_that_they_stay() -> None:
    async def main(cluster: Cluster) -> None:
        key = "node.kubernetes.io/unreachable"
        for name, seconds in {"patient": {"tolerationSeconds": 200}, "constant": {}}.items():
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", **seconds}
            spec = {"nodeName": "node-1", "containers": [{"name": "main", "image": "i"}], "tolerations": [toleration]}
            await cluster.client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await cluster.settle(60)
        cluster.nodes.silent.add("node-1")
        await cluster.settle(100)
        cluster.nodes.silent.clear()
        await cluster.settle(60)
        assert taints(cluster, "node-1") == set()
        told = [
            (event["source"]["component"], event["message"])
            for event in cluster.everything(EVENTS) if event["reason"] == "TaintManagerEviction"
        ]  # fmt: skip
        assert told == [("taint-eviction-controller", "Cancelling deletion of Pod default/patient")]

    scenario(main)


def test_a_controller_that_hears_nobody_suspects_itself_and_evicts_nobody() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=6))
        await cluster.settle()
        cluster.nodes.silent.update(NODE_NAMES)
        await cluster.settle(3600)
        assert {ready(cluster, name) for name in NODE_NAMES} == {"Unknown"}
        assert all(taints(cluster, name) == {("unreachable", "NoSchedule")} for name in NODE_NAMES)
        assert not any("deletionTimestamp" in pod["metadata"] for pod in cluster.everything(PODS))
        cluster.nodes.silent.clear()
        await cluster.settle(60)
        assert all(taints(cluster, name) == set() for name in NODE_NAMES)

    scenario(main)


def test_a_late_watch_is_not_taken_for_silence() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(60)
        cluster.faults.down = True
        cluster.api.drop_watches()
        await cluster.settle(600)
        cluster.faults.down = False
        await cluster.settle(120)
        assert {ready(cluster, name) for name in NODE_NAMES} == {"True"}
        changes = [entry for entry in cluster.api.storage.log if entry.resource == NODES and entry.old is not None]
        assert changes == [], "no node was doubted, not even for a moment"

    scenario(main)


class LateCopy:
    """A transport to a server whose own copy of Leases has stood still; what must be fresh is fresh."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._kept: Response | None = None
        self.asked: list[str] = []
        """The resourceVersion of each list of Leases."""

    async def send(self, request: Request) -> Response:
        if not request.path.endswith("/kube-node-lease/leases") or request.method != "GET":
            return await self._transport.send(request)
        version = request.query.get("resourceVersion", "")
        self.asked.append(version)
        if version != "0" or self._kept is None:
            answer = await self._transport.send(request)
            self._kept = self._kept or answer
            return answer
        return self._kept

    async def close(self) -> None:
        await self._transport.close()


def test_a_servers_late_copy_is_not_taken_for_silence() -> None:
    late: list[LateCopy] = []

    def wrap(transport: Transport) -> Transport:
        late.append(LateCopy(transport))
        return late[0]

    async def main(cluster: Cluster) -> None:
        await cluster.kill_controllers()
        client = Client(cluster.api.channel(cluster.faults)).through(wrap)
        task = asyncio.create_task(manager.run(client, cluster.clock, cluster.settings))
        await cluster.settle(300)
        changes = [entry for entry in cluster.api.storage.log if entry.resource == NODES and entry.old is not None]
        assert changes == [], "no node was doubted, not even for a moment"
        assert "" in late[0].asked, "who seemed silent was asked for once more"
        assert len(late[0].asked) <= 300 / 5 + 10, "nobody lists more often than it takes"
        await cancel(task)

    scenario(main)


def test_an_api_server_that_was_away_leaves_no_node_in_doubt() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(60)
        cluster.faults.down = cluster.node_faults.down = True
        cluster.api.drop_watches()
        await cluster.settle(610)
        cluster.faults.down = cluster.node_faults.down = False
        await cluster.settle(120)
        changes = [entry for entry in cluster.api.storage.log if entry.resource == NODES and entry.old is not None]
        assert changes == []

    scenario(main)


def test_the_taint_of_a_node_goes_as_soon_as_it_is_ready() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(10)
        not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady"}]}}
        await cluster.client.patch(NODES, "node-0", not_ready, subresource="status")
        await cluster.settle(0.1)
        assert taints(cluster, "node-0") == {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}
        ready_now = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
        await cluster.client.patch(NODES, "node-0", ready_now, subresource="status")
        await cluster.settle(0.1)
        assert taints(cluster, "node-0") == set()

    scenario(main)


def test_a_jump_of_the_wall_clock_makes_no_node_silent() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(60)
        cluster.clock.jump(86400)
        await cluster.settle(60)
        cluster.clock.jump(-2 * 86400)
        await cluster.settle(60)
        assert {ready(cluster, name) for name in NODE_NAMES} == {"True"}

    scenario(main)


def test_a_cordoned_node_is_tainted_and_an_uncordoned_one_is_not() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(10)
        await cluster.client.patch(NODES, "node-0", {"spec": {"unschedulable": True}})
        await cluster.settle(10)
        assert taints(cluster, "node-0") == {("unschedulable", "NoSchedule")}
        await cluster.client.patch(NODES, "node-0", {"spec": {"unschedulable": None}})
        await cluster.settle(10)
        assert taints(cluster, "node-0") == set()

    scenario(main)


def test_it_is_told_which_nodes_come_and_go() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(30)
        cluster.nodes.silent.add("node-1")
        await cluster.client.delete(NODES, "node-1")
        await cluster.settle(30)
        told = [
            (one["involvedObject"]["name"], one["reason"], one["message"], one["count"])
            for one in cluster.everything(EVENTS)
            if one["source"]["component"] == "node-controller" and one["involvedObject"]["kind"] == "Node"
        ]
        come = [(name, "RegisteredNode", f"Registered Node {name} in Controller", 1) for name in NODE_NAMES]
        assert sorted(told) == sorted([*come, ("node-1", "RemovingNode", "Removing Node node-1 from Controller", 1)])

    scenario(main)


def test_pods_of_a_node_that_was_removed_are_replaced() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=9))
        await cluster.settle()
        cluster.nodes.silent.add("node-1")
        await cluster.client.delete(NODES, "node-1")
        await asyncio.sleep(30)
        assert pods_on(cluster, "node-1"), "it may only be registering again"
        await cluster.nodes.register("node-9")
        cluster.nodes.names = ("node-0", "node-2", "node-9")
        await cluster.settle(120)
        assert pods_on(cluster, "node-1") == []
        assert len(cluster.ready_pods()) == 9

    scenario(main)


def test_pods_of_a_node_that_is_proven_off_are_released_at_once() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=9))
        await cluster.settle()
        cluster.nodes.silent.add("node-1")
        await cluster.settle(60)
        out = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        node = await cluster.client.get(NODES, "node-1")
        await cluster.client.patch(NODES, "node-1", {"spec": {"taints": [*node["spec"]["taints"], out]}})
        cluster.nodes.names = ("node-0", "node-2")
        await cluster.settle(60)
        assert pods_on(cluster, "node-1") == []
        assert len(cluster.ready_pods()) == 9

    scenario(main)


def test_finished_pods_beyond_the_threshold_go_oldest_first() -> None:
    async def main(cluster: Cluster) -> None:
        for number in range(6):
            spec = {"nodeName": "node-0", "containers": [{"name": "main", "image": "i"}]}
            await cluster.client.create(
                PODS, {"metadata": {"name": f"p{number}", "namespace": "default"}, "spec": spec}
            )  # fmt: skip
            await cluster.settle(5)
            status = {"status": {"phase": "Succeeded"}}
            await cluster.client.patch(PODS, f"p{number}", status, namespace="default", subresource="status")
        await cluster.settle(60)
        assert {name_of(pod) for pod in cluster.everything(PODS)} == {"p3", "p4", "p5"}

    scenario(main, ControllersSettings(terminated_pod_threshold=3))


ZONES = Limits(threshold=0.55, rate=0.1, lower_rate=0.01, large=50)


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ({"a": (0, 3)}, {"a": 0.1}),
        ({"a": (2, 3)}, {"a": 0.1}),  # Two say nothing of a zone.
        ({"a": (3, 4)}, {"a": 0.0}),
        ({"a": (3, 3)}, {"a": 0.0}),  # All zones are lost: it is us.
        ({"a": (1, 1)}, {"a": 0.0}),
        ({"a": (3, 3), "b": (0, 3)}, {"a": 0.1, "b": 0.1}),  # One zone is lost: its pods go elsewhere.
        ({"a": (3, 3), "b": (2, 2)}, {"a": 0.0, "b": 0.0}),
        ({"a": (30, 51), "b": (0, 1)}, {"a": 0.01, "b": 0.1}),
        ({"a": (30, 50), "b": (0, 1)}, {"a": 0.0, "b": 0.1}),
        ({"a": (27, 50)}, {"a": 0.1}),
    ],
)
def test_how_fast_a_zone_is_left_follows_from_who_is_absent(
    zones: dict[str, tuple[int, int]], expected: dict[str, float]
) -> None:
    nodes = {name: [number < absent for number in range(size)] for name, (absent, size) in zones.items()}
    assert rates(nodes, ZONES) == expected


def test_absent_nodes_are_left_one_after_the_other() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(1)
        cluster.nodes.names = tuple(f"node-{number}" for number in range(7))
        for name in cluster.nodes.names[3:]:
            await cluster.nodes.register(name)
        await cluster.settle(30)
        cluster.nodes.silent.update(cluster.nodes.names[:3])
        await cluster.settle(120)
        left = {}
        for entry in cluster.api.storage.log:
            if entry.resource == NODES and entry.new is not None:
                for one in entry.new["spec"].get("taints") or () if "spec" in entry.new else ():
                    if one["effect"] == "NoExecute":
                        left.setdefault(name_of(entry.new), parse_rfc3339(one["timeAdded"]))
        times = sorted(left.values())
        assert set(left) == set(cluster.nodes.names[:3])
        assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))

    scenario(main)


def test_a_zone_that_is_lost_is_left_and_one_that_is_half_lost_is_not() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.settle(1)
        cluster.nodes.names = tuple(f"node-{number}" for number in range(8))
        for name in cluster.nodes.names[3:]:
            await cluster.nodes.register(name)
        for number, name in enumerate(cluster.nodes.names):
            zone = "lost" if number < 2 else "half" if number < 6 else "well"
            labels = {"topology.kubernetes.io/zone": zone}
            await cluster.client.patch(NODES, name, {"metadata": {"labels": labels}})
        await cluster.settle(30)
        cluster.nodes.silent.update(cluster.nodes.names[:5])
        await cluster.settle(120)
        execute = ("unreachable", "NoExecute")
        assert [execute in taints(cluster, name) for name in cluster.nodes.names] == [True] * 2 + [False] * 6

    scenario(main)
