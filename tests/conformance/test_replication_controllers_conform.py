"""Conformance behaviours of ReplicationControllers and of what is left of them."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient
from tests.conformance.hollow import HollowNode
from tests.conformance.objects import Objects, owner_of, owners, pod, wait_until

MANY = 10
"""The least number of replicas for behaviours that ask for as many as fit, from 10 to 100."""


def controller(name: str = "rc", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod("any")["spec"]}
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name, "labels": {"test": "conformance"}},
        "spec": {"replicas": replicas, "selector": labels, "template": template},
    }


@pytest.fixture
def controllers(dynamic: DynamicClient, namespace: str) -> Objects:
    return Objects(dynamic, "v1", "ReplicationController", namespace)


@pytest.fixture
def pods(dynamic: DynamicClient, namespace: str) -> Objects:
    return Objects(dynamic, "v1", "Pod", namespace)


@pytest.mark.behaviour("Garbage collector should delete pods created by rc when not orphaning")
def test_a_controllers_pods_go_with_it(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    controllers.create(controller(replicas=2))
    wait_until(lambda: pods.list("app=rc"))
    controllers.delete("rc", "Background")
    wait_until(lambda: controllers.is_gone("rc") and not pods.list("app=rc"))


@pytest.mark.behaviour(
    "Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so"
)
def test_a_controller_waits_for_its_pods_to_go(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    controllers.create(controller(replicas=MANY))
    wait_until(lambda: len(pods.list("app=rc")) == MANY)
    held = pods.list("app=rc")[0]["metadata"]["name"]
    pods.patch(held, {"metadata": {"finalizers": ["example.com/hold"]}})
    controllers.delete("rc", "Foreground")
    wait_until(lambda: [one["metadata"]["name"] for one in pods.list("app=rc")] == [held])
    waiting = controllers.get("rc")["metadata"]
    assert waiting["deletionTimestamp"] and waiting["finalizers"] == ["foregroundDeletion"]
    pods.patch(held, {"metadata": {"finalizers": None}})
    wait_until(lambda: controllers.is_gone("rc"))
    assert pods.list("app=rc") == []


@pytest.mark.behaviour("Garbage collector should orphan pods created by rc if delete options say so")
def test_a_controllers_pods_outlive_it_as_orphans(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    controllers.create(controller(replicas=MANY))
    wait_until(lambda: len(pods.list("app=rc")) == MANY)
    controllers.delete("rc", "Orphan")
    wait_until(lambda: controllers.is_gone("rc"))
    # By the time the pods of another are gone, a collector that had not understood would have come for these.
    controllers.create(controller("other"))
    wait_until(lambda: pods.list("app=other"))
    controllers.delete("other", "Background")
    wait_until(lambda: not pods.list("app=other"))
    left = pods.list("app=rc")
    assert len(left) == MANY and all(owners(one) == [] for one in left)
    assert not any(one["metadata"].get("deletionTimestamp") for one in left)


@pytest.mark.behaviour(
    "Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents "
    "to be deleted"
)
def test_a_pod_stays_while_one_of_its_owners_does(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    controllers.create(controller("going", replicas=MANY))
    staying = controllers.create(controller("staying", replicas=0))
    wait_until(lambda: len(pods.list("app=going")) == MANY)
    shared = sorted(one["metadata"]["name"] for one in pods.list("app=going"))[: MANY // 2]
    for name in shared:
        references = [*pods.get(name)["metadata"]["ownerReferences"], owner_of(staying)]
        pods.patch(name, {"metadata": {"ownerReferences": references}})
    controllers.delete("going", "Foreground")
    wait_until(lambda: controllers.is_gone("going"))
    left = pods.list("app=going")
    assert sorted(one["metadata"]["name"] for one in left) == shared
    assert not any(one["metadata"].get("deletionTimestamp") for one in left)
    wait_until(lambda: all(owners(one) == [staying["metadata"]["uid"]] for one in pods.list("app=going")))


@pytest.mark.behaviour("ReplicationController should adopt matching pods on creation")
def test_a_controller_adopts_what_it_finds(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    orphan = pods.create(pod("orphan", {"app": "rc"}))
    made = controllers.create(controller())
    wait_until(lambda: owners(pods.get("orphan")) == [made["metadata"]["uid"]])
    assert pods.get("orphan")["metadata"]["uid"] == orphan["metadata"]["uid"]


@pytest.mark.behaviour("ReplicationController should release no longer matching pods")
def test_a_controller_releases_what_matches_no_more(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    uid = controllers.create(controller())["metadata"]["uid"]
    wait_until(lambda: [owners(one) for one in pods.list("app=rc")] == [[uid]])
    name = pods.list("app=rc")[0]["metadata"]["name"]
    pods.patch(name, {"metadata": {"labels": {"app": "not-matching"}}})
    wait_until(lambda: owners(pods.get(name)) == [])
    wait_until(lambda: [owners(one) for one in pods.list("app=rc")] == [[uid]])


@pytest.mark.behaviour("ReplicationController should surface a failure condition on a common issue like exceeded quota")
def test_a_controller_tells_that_its_quota_is_used_up(
    dynamic: DynamicClient, namespace: str, controllers: Objects, pods: Objects, hollow: HollowNode
) -> None:
    quotas = Objects(dynamic, "v1", "ResourceQuota", namespace)
    body = {"metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}}
    quotas.create({"apiVersion": "v1", "kind": "ResourceQuota", **body})
    wait_until(lambda: (quotas.get("two").get("status") or {}).get("hard") == {"pods": "2"})
    controllers.create(controller(replicas=3))
    wait_until(lambda: _failure(controllers) and len(pods.list("app=rc")) == 2)
    assert "exceeded quota: two" in _failure(controllers)[0]["message"]
    controllers.patch("rc", {"spec": {"replicas": 2}})
    wait_until(lambda: not _failure(controllers))


def _failure(controllers: Objects) -> list[dict[str, Any]]:
    conditions = (controllers.get("rc").get("status") or {}).get("conditions") or ()
    return [one for one in conditions if one["type"] == "ReplicaFailure"]


@pytest.mark.behaviour("ReplicationController should test the lifecycle of a ReplicationController")
def test_a_controller_lives(controllers: Objects, pods: Objects, hollow: HollowNode) -> None:
    controllers.create(controller())
    wait_until(lambda: controllers.is_ready("rc", 1))
    patched = controllers.patch("rc", {"metadata": {"labels": {"test-rc": "patched"}}})
    assert patched["metadata"]["labels"]["test-rc"] == "patched"
    assert controllers.read("rc", "status")["status"]["readyReplicas"] == 1
    status = controllers.patch("rc", {"status": {"readyReplicas": 0, "availableReplicas": 0}}, "status")
    assert not status["status"].get("readyReplicas")
    wait_until(lambda: controllers.is_ready("rc", 1))
    assert controllers.patch("rc", {"spec": {"replicas": 2}}, "scale")["spec"]["replicas"] == 2
    wait_until(lambda: controllers.is_ready("rc", 2))
    assert [one["metadata"]["name"] for one in controllers.list("test-rc=patched")] == ["rc"]
    controllers.delete_all("test-rc=patched")
    wait_until(lambda: controllers.is_gone("rc") and not pods.list("app=rc"))
