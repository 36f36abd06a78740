"""Conformance behaviours of workloads and their garbage that need controllers, and a node that says pods run."""

from __future__ import annotations

import pytest
from kubernetes.dynamic import DynamicClient
from tests.conformance.hollow import HollowNode
from tests.conformance.objects import Objects, owner_of, owners, pod, wait_until, workload

STATUS_UPDATE = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
STATUS_PATCHED = {"type": "StatusPatched", "status": "True"}


@pytest.fixture
def pods(dynamic: DynamicClient, namespace: str) -> Objects:
    return Objects(dynamic, "v1", "Pod", namespace)


@pytest.fixture
def deployments(dynamic: DynamicClient, namespace: str) -> Objects:
    return Objects(dynamic, "apps/v1", "Deployment", namespace)


@pytest.fixture
def replicasets(dynamic: DynamicClient, namespace: str) -> Objects:
    return Objects(dynamic, "apps/v1", "ReplicaSet", namespace)


def _scales(objects: Objects, name: str) -> None:
    """The scale subresource is read, updated and patched; each time the workload follows."""
    scale = objects.read(name, "scale")
    assert scale["kind"] == "Scale" and scale["spec"]["replicas"] == 1
    scale["metadata"].pop("resourceVersion")
    assert objects.replace(scale | {"spec": {"replicas": 2}}, "scale")["spec"]["replicas"] == 2
    assert objects.get(name)["spec"]["replicas"] == 2
    wait_until(lambda: objects.is_ready(name, 2))
    assert objects.patch(name, {"spec": {"replicas": 4}}, "scale")["spec"]["replicas"] == 4
    wait_until(lambda: objects.is_ready(name, 4))
    assert objects.read(name, "scale")["status"]["replicas"] == 4


def _status_is_written(objects: Objects, name: str) -> None:
    """The status is read, updated and patched through its own path, and later reads show it."""
    assert objects.read(name, "status")["status"]["replicas"] == 1

    def update() -> bool:
        body = objects.get(name)
        body["status"]["conditions"] = [*(body["status"].get("conditions") or ()), STATUS_UPDATE]
        return bool(objects.replace(body, "status"))

    wait_until(update)
    assert "StatusUpdate" in _conditions(objects, name)
    patched = objects.patch(name, {"status": {"conditions": [STATUS_PATCHED]}}, "status")
    assert [one["type"] for one in patched["status"]["conditions"]] == ["StatusPatched"]
    assert "StatusPatched" in _conditions(objects, name)


def _conditions(objects: Objects, name: str) -> list[str]:
    return [one["type"] for one in objects.read(name, "status")["status"]["conditions"]]


@pytest.mark.behaviour("Deployment Deployment should have a working scale subresource")
def test_a_deployment_is_scaled_through_its_subresource(deployments: Objects, hollow: HollowNode) -> None:
    deployments.create(workload("Deployment"))
    wait_until(lambda: deployments.is_ready("web", 1))
    _scales(deployments, "web")


@pytest.mark.behaviour("ReplicaSet Replicaset should have a working scale subresource")
def test_a_replicaset_is_scaled_through_its_subresource(replicasets: Objects, hollow: HollowNode) -> None:
    replicasets.create(workload("ReplicaSet"))
    wait_until(lambda: replicasets.is_ready("web", 1))
    _scales(replicasets, "web")


@pytest.mark.behaviour("Deployment should validate Deployment Status endpoints")
def test_a_deployments_status_is_written_by_others_too(deployments: Objects, hollow: HollowNode) -> None:
    deployments.create(workload("Deployment"))
    wait_until(lambda: deployments.is_ready("web", 1))
    _status_is_written(deployments, "web")


@pytest.mark.behaviour("ReplicaSet should validate Replicaset Status endpoints")
def test_a_replicasets_status_is_written_by_others_too(replicasets: Objects, hollow: HollowNode) -> None:
    replicasets.create(workload("ReplicaSet"))
    wait_until(lambda: replicasets.is_ready("web", 1))
    _status_is_written(replicasets, "web")


@pytest.mark.behaviour("Deployment should run the lifecycle of a Deployment")
def test_a_deployment_lives(deployments: Objects, pods: Objects, hollow: HollowNode) -> None:
    deployments.create(workload("Deployment", replicas=2))
    wait_until(lambda: deployments.is_ready("web", 2))
    change = {
        "metadata": {"labels": {"test-deployment": "patched"}},
        "spec": {"replicas": 1, "template": {"spec": {"terminationGracePeriodSeconds": 0}}},
    }
    deployments.patch("web", change)
    wait_until(lambda: deployments.is_ready("web", 1))
    assert [one["metadata"]["name"] for one in deployments.list("test-deployment=patched")] == ["web"]
    deployments.patch("web", {"spec": {"replicas": 2}}, "scale")
    wait_until(lambda: deployments.is_ready("web", 2))
    patched = deployments.patch("web", {"status": {"readyReplicas": 2}}, "status")
    assert patched["status"]["readyReplicas"] == deployments.read("web", "status")["status"]["readyReplicas"] == 2
    deployments.delete_all("test-deployment=patched")
    wait_until(lambda: deployments.is_gone("web") and not pods.list("app=web"))


@pytest.mark.behaviour("ReplicaSet Replace and Patch tests")
def test_a_replicaset_is_replaced_and_patched(replicasets: Objects, pods: Objects, hollow: HollowNode) -> None:
    replicasets.create(workload("ReplicaSet"))
    wait_until(lambda: replicasets.is_ready("web", 1))

    def scale() -> bool:
        body = replicasets.get("web")
        body["spec"]["replicas"] = 2
        return replicasets.replace(body)["spec"]["replicas"] == 2

    wait_until(scale)
    wait_until(lambda: replicasets.is_ready("web", 2))
    change = {
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": {"terminationGracePeriodSeconds": 0}}},
    }
    replicasets.patch("web", change)
    wait_until(lambda: replicasets.is_ready("web", 3))
    found = replicasets.get("web")
    assert found["metadata"]["labels"]["test-rs"] == "patched"
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0


@pytest.mark.behaviour("ReplicaSet should list and delete a collection of ReplicaSets")
def test_replicasets_are_listed_and_deleted_together(replicasets: Objects, hollow: HollowNode) -> None:
    for name in ("one", "two"):
        replicasets.create(workload("ReplicaSet", name))
        wait_until(lambda name=name: replicasets.is_ready(name, 1))
    assert len(replicasets.list("test=conformance")) == 2
    replicasets.delete_all("test=conformance")
    wait_until(lambda: not replicasets.list("test=conformance"))


@pytest.mark.behaviour("ReplicaSet should adopt matching pods on creation and release no longer matching pods")
def test_a_replicaset_adopts_and_releases(replicasets: Objects, pods: Objects, hollow: HollowNode) -> None:
    orphan = pods.create(pod("web-orphan", {"app": "web"}))
    uid = replicasets.create(workload("ReplicaSet"))["metadata"]["uid"]
    wait_until(lambda: owners(pods.get("web-orphan")) == [uid])
    assert pods.get("web-orphan")["metadata"]["uid"] == orphan["metadata"]["uid"]
    pods.patch("web-orphan", {"metadata": {"labels": {"app": "not-matching"}}})
    wait_until(lambda: owners(pods.get("web-orphan")) == [])
    wait_until(lambda: [owners(one) for one in pods.list("app=web")] == [[uid]])


@pytest.mark.behaviour("Garbage collector should delete RS created by deployment when not orphaning")
def test_a_deployments_replicaset_and_pods_go_with_it(
    deployments: Objects, replicasets: Objects, pods: Objects, hollow: HollowNode
) -> None:
    deployments.create(workload("Deployment", replicas=2))
    wait_until(lambda: deployments.is_ready("web", 2))
    assert len(replicasets.list("app=web")) == 1
    deployments.delete("web", "Background")
    wait_until(lambda: deployments.is_gone("web") and not replicasets.list("app=web") and not pods.list("app=web"))


@pytest.mark.behaviour(
    "Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan"
)
def test_a_deployments_replicaset_and_pods_outlive_it_as_orphans(
    deployments: Objects, replicasets: Objects, pods: Objects, hollow: HollowNode
) -> None:
    deployments.create(workload("Deployment", replicas=2))
    wait_until(lambda: deployments.is_ready("web", 2))
    deployments.delete("web", "Orphan")
    wait_until(lambda: deployments.is_gone("web"))
    (left,) = replicasets.list("app=web")
    assert owners(left) == [] and not left["metadata"].get("deletionTimestamp")
    # A collector that had not understood would have deleted them by the time it has deleted this one's dependents.
    deployments.create(workload("Deployment", "other"))
    wait_until(lambda: deployments.is_ready("other", 1))
    deployments.delete("other", "Background")
    wait_until(lambda: not pods.list("app=other"))
    assert len(replicasets.list("app=web")) == 1
    assert [owners(one) for one in pods.list("app=web")] == [[left["metadata"]["uid"]]] * 2


@pytest.mark.behaviour("Garbage collector should not be blocked by dependency circle")
def test_a_circle_of_owners_does_not_keep_anybody(pods: Objects, hollow: HollowNode) -> None:
    made = {name: pods.create(pod(name)) for name in ("pod1", "pod2", "pod3")}
    for name, owner in (("pod1", "pod3"), ("pod2", "pod1"), ("pod3", "pod2")):
        reference = owner_of(made[owner]) | {"controller": True, "blockOwnerDeletion": True}
        pods.patch(name, {"metadata": {"ownerReferences": [reference]}})
    pods.delete("pod1", "Foreground")
    wait_until(lambda: not pods.list())
