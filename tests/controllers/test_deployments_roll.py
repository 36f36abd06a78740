"""Deployments reach what is asked for, and on the way there never break their own limits."""

from __future__ import annotations

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, PODS, REPLICASETS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of, name_of
from kontinuum.api.machinery.status import forbidden
from kontinuum.client.transport.port import Request
from kontinuum.controllers.lib.names import template_hash
from kontinuum.controllers.lib.pods import node_of
from kontinuum.foundation.tasks import cancel


def test_a_deployment_gets_its_pods() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=3))
        await cluster.settle(10)
        assert cluster.images() == {"image:1": 3}
        status = cluster.deployment()["status"]
        assert {key: status[key] for key in status if key != "conditions"} == {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "terminatingReplicas": 0,
        }
        progressing = get_condition(cluster.deployment(), "Progressing")
        assert progressing is not None
        assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")

    scenario(main)


def test_what_replaces_a_pod_has_another_name_even_when_that_has_gone() -> None:
    """Who waits for a pod to be gone looks for its name."""

    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=2))
        names: list[str] = []
        for _ in range(4):
            await cluster.settle(10)
            names += [name_of(pod) for pod in cluster.pods()]
            for pod in cluster.pods():
                await cluster.client.delete(PODS, name_of(pod), namespace="default")
        assert len(set(names)) == len(names) == 8

    scenario(main)


def test_the_replica_set_is_named_after_its_template_and_carries_the_hash() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle(10)
        (replicaset,) = cluster.everything(REPLICASETS)
        digest = labels_of(replicaset)["pod-template-hash"]
        assert name_of(replicaset) == f"web-{digest}"
        assert replicaset["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
        assert all(labels_of(pod)["pod-template-hash"] == digest for pod in cluster.pods())

    scenario(main)


def test_a_new_image_replaces_every_pod_and_the_old_replica_set_stays_for_undo() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        await cluster.set_image("image:2")
        await cluster.settle()
        assert cluster.images() == {"image:2": 3}
        assert cluster.sizes() == {"image:2": 3}
        assert len(cluster.everything(REPLICASETS)) == 2
        assert annotations_of(cluster.deployment())["deployment.kubernetes.io/revision"] == "2"

    scenario(main)


def test_going_back_to_an_old_template_uses_its_replica_set_again_as_the_newest_revision() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        for image in ("image:2", "image:1"):
            await cluster.set_image(image)
            await cluster.settle()
        assert cluster.images() == {"image:1": 3}
        assert len(cluster.everything(REPLICASETS)) == 2
        (current,) = [one for one in cluster.everything(REPLICASETS) if one["spec"]["replicas"]]
        assert annotations_of(current)["deployment.kubernetes.io/revision"] == "3"
        assert annotations_of(current)["deployment.kubernetes.io/revision-history"] == "1"

    scenario(main)


def test_recreate_starts_nothing_new_while_something_old_runs() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))
        await cluster.settle()
        cluster.nodes.stop_seconds = 20
        await cluster.set_image("image:2")
        await asyncio.sleep(15)
        assert [pod["spec"]["containers"][0]["image"] for pod in cluster.everything(PODS)] == ["image:1"] * 3
        await cluster.settle()
        assert cluster.images() == {"image:2": 3}

    scenario(main)


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle()
        await cluster.patch({"paused": True})
        await cluster.set_image("image:2")
        await cluster.patch({"replicas": 5})
        await cluster.settle()
        assert cluster.images() == {"image:1": 5}
        await cluster.patch({"paused": False})
        await cluster.settle()
        assert cluster.images() == {"image:2": 5}

    scenario(main)


def test_a_rollout_that_does_not_move_runs_out_of_time_and_a_good_image_mends_it() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.broken_images.add("image:bad")
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=4, progressDeadlineSeconds=60))
        await cluster.settle()
        await cluster.set_image("image:bad")
        await cluster.settle(50)
        progressing = get_condition(cluster.deployment(), "Progressing")
        assert progressing is not None and progressing["status"] == "True"
        await cluster.settle(30)
        progressing = get_condition(cluster.deployment(), "Progressing")
        assert progressing is not None
        assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")
        assert cluster.images()["image:1"] == 3, "only what maxUnavailable allows was given up"
        await cluster.set_image("image:3")
        await cluster.settle()
        assert cluster.images() == {"image:3": 4}
        progressing = get_condition(cluster.deployment(), "Progressing")
        assert progressing is not None and progressing["reason"] == "NewReplicaSetAvailable"

    scenario(main)


def test_scaling_in_the_middle_of_a_rollout_is_shared_out_and_the_rollout_goes_on() -> None:
    async def main(cluster: Cluster) -> None:
        cluster.nodes.broken_images.add("image:bad")
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=10))
        await cluster.settle()
        await cluster.set_image("image:bad")
        await cluster.settle()
        assert cluster.sizes() == {"image:1": 8, "image:bad": 5}
        await cluster.patch({"replicas": 20})
        await cluster.settle(1)
        assert sum(cluster.sizes().values()) == 25
        assert cluster.sizes()["image:1"] > 8 and cluster.sizes()["image:bad"] > 5
        await cluster.set_image("image:3")
        await cluster.settle(600)
        assert cluster.images() == {"image:3": 20}

    scenario(main)


def test_old_replica_sets_beyond_the_history_limit_are_deleted_oldest_first() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=2))
        for number in range(2, 7):
            await cluster.settle(60)
            await cluster.set_image(f"image:{number}")
        await cluster.settle()
        revisions = {
            annotations_of(one)["deployment.kubernetes.io/revision"] for one in cluster.everything(REPLICASETS)
        }
        assert revisions == {"4", "5", "6"}

    scenario(main)


def test_min_ready_seconds_delays_availability() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(minReadySeconds=30))
        await cluster.settle(20)
        assert cluster.deployment()["status"]["readyReplicas"] == 3
        assert "availableReplicas" not in cluster.deployment()["status"]
        await cluster.settle(20)
        assert cluster.deployment()["status"]["availableReplicas"] == 3

    scenario(main)


def test_another_template_with_the_same_hash_gets_another_name() -> None:
    async def main(cluster: Cluster) -> None:
        wanted = deployment()
        labels = {"app": "other"}
        stranger = {
            "metadata": {"name": f"web-{template_hash(wanted['spec']['template'], 0)}", "namespace": "default"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
        }
        await cluster.client.create(REPLICASETS, stranger)
        await cluster.client.create(DEPLOYMENTS, wanted)
        await cluster.settle()
        assert cluster.deployment()["status"]["collisionCount"] == 1
        assert cluster.deployment()["status"]["availableReplicas"] == 3

    scenario(main)


def test_pods_that_may_not_be_created_are_explained_and_tried_again() -> None:
    async def main(cluster: Cluster) -> None:
        def quota(request: Request) -> Exception | None:
            is_pod = request.method == "POST" and request.path.endswith("/pods")
            return forbidden(PODS, "", "exceeded quota") if is_pod else None

        cluster.faults.refuse = quota  # type: ignore[assignment]
        await cluster.client.create(DEPLOYMENTS, deployment())
        await cluster.settle(30)
        failure = get_condition(cluster.deployment(), "ReplicaFailure")
        assert failure is not None
        assert (failure["reason"], failure["message"]) == ("FailedCreate", "pods is forbidden: exceeded quota")
        cluster.faults.refuse = lambda request: None
        await cluster.settle(300)
        assert cluster.images() == {"image:1": 3}
        assert get_condition(cluster.deployment(), "ReplicaFailure") is None

    scenario(main)


def test_nothing_is_written_in_a_settled_cluster_for_an_hour() -> None:
    async def main(cluster: Cluster) -> None:
        for name in ("web", "api", "jobs"):
            await cluster.client.create(DEPLOYMENTS, deployment(name))
        await cluster.settle(300)
        before = len(cluster.faults.writes)
        assert before > 9
        await cluster.settle(3600)
        assert cluster.faults.writes[before:] == []

    scenario(main)


WISH = st.one_of(st.integers(0, 5), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))
CHANGE = st.one_of(
    st.tuples(st.just("image"), st.sampled_from(["image:1", "image:2", "image:bad"])),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 1.0, 3.0, 30.0])),
)


@settings(max_examples=15, deadline=None)
@given(replicas=st.integers(1, 8), surge=WISH, unavailable=WISH, changes=st.lists(CHANGE, max_size=8))
def test_a_rollout_never_has_too_many_pods_nor_gives_up_too_many(
    replicas: int, surge: int | str, unavailable: int | str, changes: list[tuple[str, object]]
) -> None:
    def resolve(wish: int | str, rounding: object) -> int:
        return wish if isinstance(wish, int) else rounding(int(wish[:-1]) * replicas / 100)  # type: ignore[operator]

    most = replicas + resolve(surge, math.ceil)
    fewest = replicas - resolve(unavailable, math.floor)
    if most == replicas == fewest:
        fewest -= 1

    async def main(cluster: Cluster) -> None:
        cluster.nodes.broken_images.add("image:bad")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=replicas, strategy=strategy))
        await cluster.settle()
        position, problems = len(cluster.api.storage.log), []

        async def look() -> None:
            while True:
                await cluster.api.storage.wait_changed()
                if len(cluster.pods()) > most:
                    problems.append(f"{len(cluster.pods())} pods, allowed are {most}")
                if len(cluster.ready_pods()) < fewest:
                    problems.append(f"{len(cluster.ready_pods())} ready pods, at least {fewest} are promised")

        looking = asyncio.create_task(look())
        for what, value in changes:
            if what == "image":
                await cluster.set_image(str(value))
            else:
                await asyncio.sleep(float(str(value)))
        await cluster.set_image("image:3")
        await cluster.settle(600)
        looking.cancel()
        assert problems == []
        assert len(cluster.api.storage.log) > position
        assert cluster.images() == {"image:3": replicas}

    scenario(main)


def test_reports_of_many_pods_and_labels_that_come_with_them_make_few_statuses() -> None:
    """A pod is labelled with its zone when it is bound: labels come as often as reports, and are no more urgent."""

    async def main(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment(replicas=50))
        await cluster.settle(10)
        (before,) = cluster.everything(REPLICASETS)
        assert before["status"]["readyReplicas"] == 50
        statuses: list[Object] = []

        async def follow() -> None:
            version = before["metadata"]["resourceVersion"]
            async for event in cluster.client.watch(REPLICASETS, resource_version=version):
                statuses.append(event.object["status"])

        following = asyncio.create_task(follow())
        for number, pod in enumerate(cluster.pods() * 4):
            conditions = [{"type": "Ready", "status": "False" if number % 2 else "True"}]
            name, labels = name_of(pod), {"zone": f"zone-{number}"}
            await cluster.client.patch(
                PODS, name, {"status": {"conditions": conditions}}, namespace="default", subresource="status"
            )
            await cluster.client.patch(PODS, name, {"metadata": {"labels": labels}}, namespace="default")
            await cluster.settle(0.01)
        # Four hundred changes in two seconds.
        await cluster.settle(1)
        await cancel(following)
        assert 1 < len(statuses) <= 20
        assert statuses[-1]["readyReplicas"] == len(cluster.ready_pods()) == 25

    scenario(main)


def test_replicas_that_are_still_ending_are_told_of() -> None:
    """KEP-3973. The node of one of them is silent."""

    async def main(cluster: Cluster) -> None:
        def told() -> list[int]:
            holders = (cluster.deployment(), *cluster.everything(REPLICASETS))
            return [one["status"]["terminatingReplicas"] for one in holders]

        await cluster.client.create(DEPLOYMENTS, deployment(replicas=3))
        await cluster.settle(10)
        pod = cluster.everything(PODS)[0]
        cluster.nodes.silent.add(node_of(pod))
        await cluster.client.delete(PODS, name_of(pod), namespace="default")
        await cluster.settle(5)
        assert (cluster.deployment()["status"]["replicas"], told()) == (3, [1, 1])
        cluster.nodes.silent.clear()
        await cluster.settle(60)
        assert told() == [0, 0]

    scenario(main)
