"""StatefulSets: pods with numbers, one after the other, and each with its disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import (
    CONTROLLERREVISIONS,
    EVENTS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    STATEFULSETS,
)
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.controllers.lib.pods import is_leaving, is_ready
from kontinuum.foundation import virtual_time

KEY = "default/db"


def statefulset(replicas: int = 3, image: str = "image:1", **spec: Any) -> Object:
    labels = {"app": "db"}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    spec = {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": labels}, "template": template,
        "volumeClaimTemplates": [claim], "updateStrategy": rolling, **spec,
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": spec,
    }


def found(cluster: Cluster) -> Object:
    one = cluster.api.storage.get(STATEFULSETS, KEY)
    assert one is not None
    return one


def names(cluster: Cluster) -> list[str]:
    return [name_of(pod) for pod in cluster.everything(PODS)]


async def change(cluster: Cluster, **spec: Any) -> None:
    await cluster.client.patch(STATEFULSETS, "db", {"spec": spec}, namespace="default")


def containers(image: str) -> Object:
    return {"spec": {"containers": [{"name": "main", "image": image}]}}


def test_pods_come_one_after_the_other_with_their_names_and_disks() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.ready_seconds = 10
        await cluster.client.create(STATEFULSETS, statefulset())
        await asyncio.sleep(5)
        assert names(cluster) == ["db-0"]
        await asyncio.sleep(10)
        assert names(cluster) == ["db-0", "db-1"]
        await cluster.settle(60)
        assert names(cluster) == ["db-0", "db-1", "db-2"]
        assert [name_of(one) for one in cluster.everything(PERSISTENTVOLUMECLAIMS)] == [
            "data-db-0", "data-db-1", "data-db-2",
        ]  # fmt: skip
        pod = cluster.everything(PODS)[1]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
        assert labels_of(pod)["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "1"
        status = found(cluster)["status"]
        assert (status["replicas"], status["readyReplicas"], status["currentReplicas"]) == (3, 3, 3)
        assert status["currentRevision"] == status["updateRevision"] == labels_of(pod)["controller-revision-hash"]
        told = {one["message"] for one in cluster.everything(EVENTS)}
        assert "create Claim data-db-0 Pod db-0 in StatefulSet db success" in told
        assert "create Pod db-0 in StatefulSet db successful" in told

    scenario(main)


def test_parallel_pods_wait_for_nobody() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.ready_seconds = 30
        await cluster.client.create(STATEFULSETS, statefulset(podManagementPolicy="Parallel"))
        await asyncio.sleep(5)
        assert names(cluster) == ["db-0", "db-1", "db-2"]
        await change(cluster, replicas=0)
        await asyncio.sleep(5)
        assert names(cluster) == []

    scenario(main)


def test_the_highest_goes_first_and_disks_stay() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.stop_seconds = 10
        await cluster.client.create(STATEFULSETS, statefulset())
        await cluster.settle(60)
        await change(cluster, replicas=1)
        await asyncio.sleep(5)
        assert [name_of(pod) for pod in cluster.everything(PODS) if is_leaving(pod)] == ["db-2"]
        await asyncio.sleep(10)
        assert [name_of(pod) for pod in cluster.everything(PODS) if is_leaving(pod)] == ["db-1"]
        await cluster.settle(60)
        assert names(cluster) == ["db-0"]
        assert len(cluster.everything(PERSISTENTVOLUMECLAIMS)) == 3

    scenario(main)


def test_who_is_unwell_stays_while_one_before_it_is_unwell_too() -> None:
    """The set that shrinks waits (Kubernetes' conformance: scaling halts if any stateful pod is unhealthy)."""

    async def say(cluster: Cluster, name: str, ready: str) -> None:
        conditions = [{"type": "Ready", "status": ready}]
        await cluster.client.patch(
            PODS, name, {"status": {"conditions": conditions}}, namespace="default", subresource="status"
        )

    async def main(cluster: Cluster) -> None:
        await cluster.client.create(STATEFULSETS, statefulset())
        await cluster.settle(60)
        for name in names(cluster):
            await say(cluster, name, "False")
        await change(cluster, replicas=0)
        await cluster.settle(600)
        assert names(cluster) == ["db-0", "db-1", "db-2"]
        await say(cluster, "db-2", "True")
        await cluster.settle(60)
        assert names(cluster) == ["db-0", "db-1"]
        # The lowest that is unwell need not wait for anybody.
        await say(cluster, "db-0", "True")
        await cluster.settle(60)
        assert names(cluster) == []

    scenario(main)


def test_ordinals_may_start_anywhere() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(STATEFULSETS, statefulset(replicas=2, ordinals={"start": 5}))
        await cluster.settle(60)
        assert names(cluster) == ["db-5", "db-6"]

    scenario(main)


def test_a_rollout_goes_down_to_its_partition_and_back_up_by_undo() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(STATEFULSETS, statefulset())
        await cluster.settle(60)
        await change(
            cluster, template=containers("image:2"), updateStrategy={"rollingUpdate": {"partition": 2}}
        )  # fmt: skip
        await cluster.settle(60)
        assert [pod["spec"]["containers"][0]["image"] for pod in cluster.everything(PODS)] == [
            "image:1", "image:1", "image:2",
        ]  # fmt: skip
        status = found(cluster)["status"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (2, 1)
        assert status["currentRevision"] != status["updateRevision"]
        await cluster.client.delete(PODS, "db-0", namespace="default")
        await cluster.settle(30)
        first = cluster.everything(PODS)[0]
        assert first["spec"]["containers"][0]["image"] == "image:1", "below the partition the old revision lives on"
        await change(cluster, updateStrategy={"rollingUpdate": {"partition": 0}})
        await cluster.settle(60)
        assert cluster.images() == {"image:2": 3}
        status = found(cluster)["status"]
        assert status["currentRevision"] == status["updateRevision"]
        await change(cluster, template=containers("image:1"))
        await cluster.settle(60)
        revisions = {name_of(one): one["revision"] for one in cluster.everything(CONTROLLERREVISIONS)}
        assert sorted(revisions.values()) == [2, 3], "an old template keeps its revision under a new number"
        assert found(cluster)["status"]["updateRevision"] == max(revisions, key=lambda name: revisions[name])

    scenario(main)


def test_on_delete_leaves_pods_alone_until_they_are_deleted() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(STATEFULSETS, statefulset(updateStrategy={"type": "OnDelete"}))
        await cluster.settle(60)
        await change(cluster, template=containers("image:2"))
        await cluster.settle(60)
        assert cluster.images() == {"image:1": 3}
        await cluster.client.delete(PODS, "db-1", namespace="default")
        await cluster.settle(60)
        assert cluster.images() == {"image:1": 2, "image:2": 1}

    scenario(main)


def test_a_pod_that_failed_makes_room_for_another_of_its_name() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(STATEFULSETS, statefulset())
        await cluster.settle(60)
        before = cluster.everything(PODS)[1]
        failed = {"status": {"phase": "Failed"}}
        await cluster.client.patch(PODS, "db-1", failed, namespace="default", subresource="status")
        await cluster.settle(60)
        after = cluster.everything(PODS)[1]
        assert name_of(after) == "db-1" and after["metadata"]["uid"] != before["metadata"]["uid"]
        assert "RecreatingFailedPod" in {one["reason"] for one in cluster.everything(EVENTS)}

    scenario(main)


def test_claims_go_with_whom_the_retention_policy_names() -> None:
    async def main(cluster: Cluster) -> None:
        policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        await cluster.client.create(STATEFULSETS, statefulset(persistentVolumeClaimRetentionPolicy=policy))
        await cluster.settle(60)
        owners = [one["metadata"]["ownerReferences"][0]["kind"] for one in cluster.everything(PERSISTENTVOLUMECLAIMS)]
        assert owners == ["StatefulSet"] * 3
        await change(cluster, replicas=2)
        await cluster.settle(60)
        assert len(cluster.everything(PERSISTENTVOLUMECLAIMS)) == 2
        await cluster.client.delete(STATEFULSETS, "db", namespace="default")
        await cluster.settle(60)
        assert cluster.everything(PERSISTENTVOLUMECLAIMS) == cluster.everything(PODS) == []

    scenario(main)


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from(["OrderedReady", "Parallel"]),
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from(["scale", "image", "delete", "fail"]), st.integers(0, 5), st.floats(0, 9, allow_nan=False)
        ),
        max_size=6,
    ),
)
def test_no_rollout_takes_more_pods_than_it_may(policy: str, allowed: int, steps: list[tuple[str, int, float]]) -> None:
    """And whatever is done to a set, it comes to what it should be, and then writes nothing more."""

    async def main(cluster: Cluster) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": allowed}}
        await cluster.client.create(
            STATEFULSETS, statefulset(5, podManagementPolicy=policy, updateStrategy=strategy)
        )  # fmt: skip
        await cluster.settle(90)
        await change(cluster, template=containers("image:2"))
        fewest = 5
        for _ in range(120):
            await asyncio.sleep(0.5)
            fewest = min(fewest, sum(is_ready(pod) and not is_leaving(pod) for pod in cluster.everything(PODS)))
        assert fewest >= 5 - allowed
        size, image = 5, "image:2"
        for what, number, wait in steps:
            if what == "scale":
                size = number
                await change(cluster, replicas=size)
            elif what == "image":
                image = f"image:{number}"
                await change(cluster, template=containers(image))
            elif f"db-{number}" in names(cluster):
                if what == "delete":
                    await cluster.client.delete(PODS, f"db-{number}", namespace="default")
                else:
                    failed = {"status": {"phase": "Failed"}}
                    await cluster.client.patch(
                        PODS, f"db-{number}", failed, namespace="default", subresource="status"
                    )  # fmt: skip
            await asyncio.sleep(wait)
        await cluster.settle(200)
        assert names(cluster) == [f"db-{number}" for number in range(size)]
        assert cluster.images() == ({image: size} if size else {})
        writes = len(cluster.faults.writes)
        await cluster.settle(900)
        later = [one for one in cluster.faults.writes[writes:] if "/leases/" not in one.path]
        assert later == []

    scenario(main)


async def a_day(cluster: Cluster) -> None:
    await cluster.client.create(STATEFULSETS, statefulset())
    await asyncio.sleep(9)
    await change(cluster, template=containers("image:2"))
    await asyncio.sleep(5)
    await change(cluster, replicas=2)
    await cluster.settle(120)


def end_state(cluster: Cluster) -> Object:
    status = {key: value for key, value in found(cluster)["status"].items() if "evision" not in key}
    claims = [name_of(one) for one in cluster.everything(PERSISTENTVOLUMECLAIMS)][:2]
    return {"images": cluster.images(), "names": names(cluster), "status": status, "claims": claims}


def run_day(prepare: Callable[[Cluster], None]) -> tuple[Object, list[int]]:
    async def main() -> tuple[Object, list[int]]:
        async with running() as cluster:
            prepare(cluster)
            faults = cluster.faults
            await a_day(cluster)
            writes = [n for n, request in enumerate(faults.writes, 1) if "/events" not in request.path]
            return end_state(cluster), writes

    return virtual_time.run(main)


def test_the_end_is_the_same_wherever_the_controller_is_killed_or_whichever_answer_is_lost() -> None:
    expected, writes = run_day(lambda cluster: None)
    assert expected["names"] == ["db-0", "db-1"] and expected["images"] == {"image:2": 2}
    assert len(writes) > 15
    # Every write is a point of its own for one of the two faults.
    for index, point in enumerate(writes):

        def kill_at(cluster: Cluster, point: int = point) -> None:
            def after_write(number: int, request: object) -> None:
                if number == point:
                    cluster.replace_controllers()

            cluster.faults.after_write = after_write

        def lose_at(cluster: Cluster, point: int = point) -> None:
            cluster.faults.lose_answer(point)

        assert run_day(lose_at if index % 2 else kill_at)[0] == expected, f"at write {point}"
