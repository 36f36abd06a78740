"""DaemonSets: one pod on every node that wants it, and never more missing than allowed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, scenario

from kontinuum.api.kubernetes.resources import CONTROLLERREVISIONS, DAEMONSETS, EVENTS, NODES, PODS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.controllers.lib.daemonsets import limits, verdict
from kontinuum.controllers.lib.pods import is_leaving, is_ready
from kontinuum.controllers.lib.revisions import HASH_LABEL


def daemonset(image: str = "image:1", *, pod: Object | None = None, **spec: Any) -> Object:
    labels = {"app": "agent"}
    pod_spec = {"containers": [{"name": "main", "image": image}], **(pod or {})}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    template = {"metadata": {"labels": labels}, "spec": pod_spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default", "uid": "u"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, "updateStrategy": rolling, **spec},
    }


def node(name: str = "n", labels: Object | None = None, *taints: Object) -> Object:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"taints": list(taints)}}


def places(cluster: Cluster) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in cluster.pods())


def status(cluster: Cluster) -> Object:
    one = cluster.api.storage.get(DAEMONSETS, "default/agent")
    assert one is not None
    return one["status"]  # type: ignore[no-any-return]


async def change(cluster: Cluster, **spec: Any) -> None:
    await cluster.client.patch(DAEMONSETS, "agent", {"spec": spec}, namespace="default")


def test_every_node_gets_one_also_those_that_come_later() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemonset())
        await cluster.settle(20)
        assert places(cluster) == ["node-0", "node-1", "node-2"]
        assert status(cluster) == {
            "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberReady": 3, "numberMisscheduled": 0,
            "numberAvailable": 3, "updatedNumberScheduled": 3, "observedGeneration": 1,
        }  # fmt: skip
        await cluster.nodes.register("node-3")
        await cluster.settle(20)
        assert places(cluster)[-1] == "node-3"
        await cluster.client.delete(NODES, "node-3")
        await cluster.settle(60)
        assert places(cluster) == ["node-0", "node-1", "node-2"]

    scenario(main)


def test_nodes_are_chosen_by_their_labels_and_lose_the_pod_with_them() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemonset(pod={"nodeSelector": {"disk": "fast"}}))
        await cluster.settle(20)
        assert places(cluster) == [] and status(cluster)["desiredNumberScheduled"] == 0
        await cluster.client.patch(NODES, "node-1", {"metadata": {"labels": {"disk": "fast"}}})
        await cluster.settle(20)
        assert places(cluster) == ["node-1"]
        await cluster.client.patch(NODES, "node-1", {"metadata": {"labels": {"disk": "slow"}}})
        await cluster.settle(20)
        assert places(cluster) == []

    scenario(main)


NO_SCHEDULE = {"key": "a", "value": "b", "effect": "NoSchedule"}
NO_EXECUTE = {"key": "a", "value": "b", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("pod", "where", "expected"),
    [
        ({}, node(), (True, True)),
        ({}, node("n", {}, NO_SCHEDULE), (False, True)),
        ({}, node("n", {}, NO_EXECUTE), (False, False)),
        ({"tolerations": [{"operator": "Exists"}]}, node("n", {}, NO_EXECUTE), (True, True)),
        ({}, node("n", {}, {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}), (True, True)),
        ({}, node("n", {}, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}), (True, True)),
        ({"nodeName": "other"}, node(), (False, False)),
        ({"nodeSelector": {"x": "y"}}, node(), (False, False)),
    ],
)
def test_which_nodes_want_a_pod(pod: Object, where: Object, expected: tuple[bool, bool]) -> None:
    assert verdict(daemonset(pod=pod), where) == expected


@pytest.mark.parametrize(
    ("rolling", "expected"),
    [
        ({}, (0, 1)),
        ({"maxUnavailable": "50%"}, (0, 3)),
        ({"maxSurge": "20%", "maxUnavailable": 0}, (1, 0)),
        ({"maxUnavailable": 0}, (0, 1)),
    ],
)
def test_limits_are_numbers_or_shares(rolling: Object, expected: tuple[int, int]) -> None:
    assert limits(daemonset(updateStrategy={"rollingUpdate": rolling}), 5) == expected


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2), st.integers(0, 3), st.sampled_from([1.0, 4.0]))
def test_a_rollout_never_takes_or_adds_more_than_it_may(surge: int, unavailable: int, ready_after: float) -> None:
    """And it ends, and then nothing more is written."""

    async def main(cluster: Cluster) -> None:
        cluster.nodes.ready_seconds = ready_after
        strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0 if surge else unavailable}}
        await cluster.client.create(DAEMONSETS, daemonset(updateStrategy={"type": "RollingUpdate", **strategy}))
        await cluster.settle(30)
        image = {"spec": {"containers": [{"name": "main", "image": "image:2"}]}}
        await change(cluster, template=image)
        fewest, most = 3, 3
        for _ in range(160):
            await asyncio.sleep(0.25)
            living = [pod for pod in cluster.everything(PODS) if not is_leaving(pod)]
            fewest = min(fewest, sum(is_ready(pod) for pod in living))
            most = max(most, len(living))
        assert cluster.images() == {"image:2": 3}
        assert fewest >= (3 if surge else 3 - max(1, unavailable))
        assert most <= 3 + surge
        assert len(cluster.everything(CONTROLLERREVISIONS)) == 2
        writes = len(cluster.faults.writes)
        await cluster.settle(900)
        assert [one for one in cluster.faults.writes[writes:] if "/leases/" not in one.path] == []

    scenario(main)


def test_two_revisions_that_say_the_same_become_one_and_no_pod_runs_anew_for_it() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemonset())
        await cluster.settle(20)
        before = {pod["metadata"]["uid"] for pod in cluster.pods()}
        [older] = cluster.everything(CONTROLLERREVISIONS)
        metadata = {key: older["metadata"][key] for key in ("namespace", "ownerReferences")}
        label = {"labels": {**older["metadata"]["labels"], HASH_LABEL: "twin"}}
        newer = {**older, "metadata": {**metadata, **label, "name": "agent-twin"}, "revision": 2}
        await cluster.kill_controllers()
        await cluster.client.create(CONTROLLERREVISIONS, newer)
        cluster.start_controllers()
        await cluster.settle(60)
        assert [name_of(one) for one in cluster.everything(CONTROLLERREVISIONS)] == ["agent-twin"]
        assert {pod["metadata"]["uid"] for pod in cluster.pods()} == before
        assert {pod["metadata"]["labels"][HASH_LABEL] for pod in cluster.pods()} == {"twin"}

    scenario(main)


def test_on_delete_waits_for_the_user() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemonset(updateStrategy={"type": "OnDelete"}))
        await cluster.settle(20)
        await change(cluster, template={"spec": {"containers": [{"name": "main", "image": "image:2"}]}})
        await cluster.settle(20)
        assert cluster.images() == {"image:1": 3}
        await cluster.client.delete(PODS, name_of(cluster.pods()[0]), namespace="default")
        await cluster.settle(20)
        assert cluster.images() == {"image:1": 2, "image:2": 1}

    scenario(main)


def test_a_failed_daemon_is_replaced_later_each_time() -> None:
    async def main(cluster: Cluster) -> None:
        await asyncio.sleep(1)
        await cluster.client.create(DAEMONSETS, daemonset(pod={"nodeSelector": {"disk": "fast"}}))
        await cluster.client.patch(NODES, "node-1", {"metadata": {"labels": {"disk": "fast"}}})
        await cluster.settle(20)
        uids, names = set(), set()
        for _ in range(600):
            for pod in cluster.pods():
                uids.add(pod["metadata"]["uid"])
                names.add(name_of(pod))
                failed = {"status": {"phase": "Failed"}}
                await cluster.client.patch(PODS, name_of(pod), failed, namespace="default", subresource="status")
            await asyncio.sleep(0.5)
        assert 7 <= len(uids) <= 12, "1, 2, 4 ... seconds apart: nine in five minutes"
        assert len(names) == len(uids), "who waits for a failed one to be gone looks for its name"
        assert "FailedDaemonPod" in {one["reason"] for one in cluster.everything(EVENTS)}

    scenario(main)
