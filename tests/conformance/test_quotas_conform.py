"""Conformance behaviours of ResourceQuotas: what is used is counted, too much is refused, what is deleted released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient, exceptions
from tests.conformance.objects import Objects, wait_until, workload

Find = Callable[[str, str], Objects]
SPECIAL = "requests.example.com/dongle"
HARD = {
    "pods": "5", "services": "10", "replicationcontrollers": "10", "resourcequotas": "1", "cpu": "1",
    "memory": "500Mi", "configmaps": "10", "secrets": "10", "persistentvolumeclaims": "10",
    "requests.ephemeral-storage": "50Gi", "services.nodeports": "1", "services.loadbalancers": "1",
    "count/replicasets.apps": "5", SPECIAL: "3",
}  # fmt: skip


@pytest.fixture
def find(dynamic: DynamicClient, namespace: str) -> Find:
    return lambda version, kind: Objects(dynamic, version, kind, namespace)


@pytest.fixture
def quotas(find: Find) -> Objects:
    return find("v1", "ResourceQuota")


def quota(name: str = "test-quota", hard: dict[str, str] | None = None, scopes: list[str] | None = None) -> Any:
    spec = {"hard": hard or HARD} | ({"scopes": scopes} if scopes else {})
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def used(quotas: Objects, name: str = "test-quota") -> dict[str, str]:
    return (quotas.get(name).get("status") or {}).get("used") or {}


def is_calculated(quotas: Objects, name: str = "test-quota") -> bool:
    found = quotas.get(name)
    return (found.get("status") or {}).get("hard") == found["spec"]["hard"]


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.")
def test_a_quota_is_calculated(quotas: Objects) -> None:
    quotas.create(quota())
    wait_until(lambda: is_calculated(quotas))
    found = used(quotas)
    assert found.keys() == HARD.keys()
    assert found["resourcequotas"] == "1" and found["pods"] == found["cpu"] == found["services"] == "0"


def lives(quotas: Objects, objects: Objects, body: dict[str, Any], resource: str, more: dict[str, str]) -> None:
    """The object is counted when it is created, and released when it is deleted."""
    quotas.create(quota())
    wait_until(lambda: is_calculated(quotas))
    before = used(quotas)
    objects.create(body)
    expected = before | {resource: str(int(before[resource]) + 1)} | more
    wait_until(lambda: used(quotas) == expected)
    objects.delete(body["metadata"]["name"])
    wait_until(lambda: used(quotas) == before)


def plain(kind: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "counted"}, **more}


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a configMap.")
def test_configmaps_are_counted(quotas: Objects, find: Find) -> None:
    lives(quotas, find("v1", "ConfigMap"), plain("ConfigMap", data={"a": "b"}), "configmaps", {})


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a secret.")
def test_secrets_are_counted(quotas: Objects, find: Find) -> None:
    lives(quotas, find("v1", "Secret"), plain("Secret", data={"a": "Yg=="}), "secrets", {})


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a service.")
def test_services_are_counted_by_what_they_are(quotas: Objects, find: Find) -> None:
    services = find("v1", "Service")
    body = plain("Service", spec={"type": "NodePort", "ports": [{"port": 80}]})
    lives(quotas, services, body, "services", {"services.nodeports": "1"})
    services.create(body)
    with pytest.raises(exceptions.ForbiddenError, match="exceeded quota: test-quota"):
        services.create(body | {"metadata": {"name": "second"}})


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a replica set.")
def test_replicasets_are_counted(quotas: Objects, find: Find) -> None:
    body = workload("ReplicaSet", "counted", replicas=0)
    lives(quotas, find("apps/v1", "ReplicaSet"), body, "count/replicasets.apps", {})


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a replication controller.")
def test_replication_controllers_are_counted(quotas: Objects, find: Find) -> None:
    spec = workload("ReplicaSet", "counted", replicas=0)["spec"] | {"selector": {"app": "counted"}}
    body = plain("ReplicationController", spec=spec)
    lives(quotas, find("v1", "ReplicationController"), body, "replicationcontrollers", {})


def pod(name: str, requests: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    resources: dict[str, Any] = {"requests": requests, "limits": requests} if requests else {}
    containers = [{"name": "c", "image": "nginx:1", "resources": resources}]
    spec = {"containers": containers, "terminationGracePeriodSeconds": 0, **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.mark.behaviour("ResourceQuota should create a ResourceQuota and capture the life of a pod.")
def test_what_a_pod_asks_for_is_counted(quotas: Objects, find: Find) -> None:
    pods = find("v1", "Pod")
    quotas.create(quota())
    wait_until(lambda: is_calculated(quotas))
    before = used(quotas)
    asked = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    pods.create(pod("counted", asked))
    expected = {"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi", SPECIAL: "2"}
    wait_until(lambda: used(quotas) == before | expected)
    for much in ({"cpu": "600m", "memory": "100Mi"}, {"cpu": "1m", "memory": "1Mi", "example.com/dongle": "2"}):
        with pytest.raises(exceptions.ForbiddenError, match="exceeded quota: test-quota"):
            pods.create(pod("too-much", much))
    change = {"spec": {"containers": [{"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": "100m"}}}]}}
    with pytest.raises(exceptions.UnprocessibleEntityError):
        pods.patch("counted", change)
    assert used(quotas) == before | expected
    pods.delete("counted")
    wait_until(lambda: used(quotas) == before)


@pytest.mark.behaviour("ResourceQuota should verify ResourceQuota with best effort scope.")
def test_pods_are_counted_by_their_quality(quotas: Objects, find: Find) -> None:
    pods = find("v1", "Pod")
    _two_scopes(quotas, {"pods": "5"}, "BestEffort", "NotBestEffort")
    pods.create(pod("best-effort"))
    wait_until(lambda: [used(quotas, one)["pods"] for one in ("first", "second")] == ["1", "0"])
    pods.delete("best-effort")
    wait_until(lambda: [used(quotas, one)["pods"] for one in ("first", "second")] == ["0", "0"])
    pods.create(pod("burstable", {"cpu": "1m"}))
    wait_until(lambda: [used(quotas, one)["pods"] for one in ("first", "second")] == ["0", "1"])
    pods.delete("burstable")
    wait_until(lambda: [used(quotas, one)["pods"] for one in ("first", "second")] == ["0", "0"])


@pytest.mark.behaviour("ResourceQuota should verify ResourceQuota with terminating scopes.")
def test_pods_are_counted_by_whether_they_end(quotas: Objects, find: Find) -> None:
    pods = find("v1", "Pod")
    hard = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    nothing = dict.fromkeys(hard, "0")
    asked = {"cpu": "500m", "memory": "200Mi"}
    counted = {"pods": "1"} | {
        f"{side}.{name}": text for side in ("requests", "limits") for name, text in asked.items()
    }
    _two_scopes(quotas, hard, "Terminating", "NotTerminating")
    pods.create(pod("long", asked))
    wait_until(lambda: [used(quotas, one) for one in ("first", "second")] == [nothing, counted])
    pods.delete("long")
    wait_until(lambda: [used(quotas, one) for one in ("first", "second")] == [nothing, nothing])
    pods.create(pod("short", asked, activeDeadlineSeconds=3600))
    wait_until(lambda: [used(quotas, one) for one in ("first", "second")] == [counted, nothing])
    pods.delete("short")
    wait_until(lambda: [used(quotas, one) for one in ("first", "second")] == [nothing, nothing])


def _two_scopes(quotas: Objects, hard: dict[str, str], first: str, second: str) -> None:
    for name, scope in (("first", first), ("second", second)):
        quotas.create(quota(name, hard, [scope]))
        wait_until(lambda name=name: is_calculated(quotas, name) and set(used(quotas, name).values()) == {"0"})


@pytest.mark.behaviour("ResourceQuota should apply changes to a resourcequota status")
def test_a_quotas_status_is_written_and_set_right(quotas: Objects) -> None:
    quotas.create(quota(hard={"cpu": "500m", "memory": "500Mi"}))
    wait_until(lambda: is_calculated(quotas))

    def update() -> bool:
        body = quotas.get("test-quota")
        body["status"]["hard"] = {"cpu": "100m", "memory": "100Mi"}
        return quotas.replace(body, "status")["status"]["hard"] == {"cpu": "100m", "memory": "100Mi"}

    wait_until(update)
    wait_until(lambda: is_calculated(quotas))
    raised = {"cpu": "1", "memory": "1Gi"}
    assert quotas.patch("test-quota", {"spec": {"hard": raised}})["spec"]["hard"] == raised
    wait_until(lambda: quotas.read("test-quota", "status")["status"]["hard"] == raised)
    for wrong in ({"cpu": "200m", "memory": "200Mi"}, {"cpu": "2", "memory": "2Gi"}):
        patched = quotas.patch("test-quota", {"status": {"hard": wrong}, "spec": {"hard": wrong}}, "status")
        assert patched["status"]["hard"] == wrong and patched["spec"]["hard"] == raised
        wait_until(lambda: quotas.read("test-quota", "status")["status"]["hard"] == raised)
