"""ResourceQuotas tell what is used of them, whatever the objects are and however they end."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.cluster import Cluster, scenario

from kontinuum.api.kubernetes.resources import (
    CONFIGMAPS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
)
from kontinuum.api.machinery.resources import Resource


async def limit(cluster: Cluster, name: str, hard: dict[str, str], **spec: Any) -> None:
    metadata = {"name": name, "namespace": "default"}
    await cluster.client.create(RESOURCEQUOTAS, {"metadata": metadata, "spec": {"hard": hard, **spec}})
    await cluster.settle(10)


async def used(cluster: Cluster, name: str = "q") -> dict[str, str]:
    status = (await cluster.client.get(RESOURCEQUOTAS, name, namespace="default"))["status"]
    assert status["hard"].keys() == status["used"].keys()
    found: dict[str, str] = status["used"]
    return found


def pod(name: str, requests: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    resources = {"requests": requests, "limits": requests} if requests else {}
    containers = [{"name": "main", "image": "image:1", "resources": resources}]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": containers, **spec}}


PORTS = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
SAMPLES = [
    (CONFIGMAPS, {}, {"configmaps": "1", "count/configmaps": "1"}),
    (SECRETS, {}, {"secrets": "1", "count/secrets": "1"}),
    (SERVICES, {"spec": {"type": "NodePort", "ports": PORTS}},
     {"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"}),
    (REPLICATIONCONTROLLERS, {"spec": {"replicas": 0}}, {"replicationcontrollers": "1"}),
    (REPLICASETS, {"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}}}, {"count/replicasets.apps": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "body", "expected"), SAMPLES, ids=lambda one: getattr(one, "plural", ""))
def test_the_life_of_an_object_is_captured(resource: Resource, body: dict[str, Any], expected: dict[str, str]) -> None:
    async def main(cluster: Cluster) -> None:
        await limit(cluster, "q", dict.fromkeys(expected, "9"))
        before = await used(cluster)
        await cluster.client.create(resource, {"metadata": {"name": "x", "namespace": "default"}, **body})
        await cluster.settle(10)
        assert {name: int(count) - int(before[name]) for name, count in (await used(cluster)).items()} == {
            name: int(count) for name, count in expected.items()
        }
        await cluster.client.delete(resource, "x", namespace="default")
        await cluster.settle(10)
        assert await used(cluster) == before

    scenario(main)


def test_the_life_of_a_pod_is_captured() -> None:
    async def main(cluster: Cluster) -> None:
        hard = {"pods": "5", "cpu": "2", "requests.memory": "1Gi", "limits.cpu": "9", "count/pods": "9"}
        await limit(cluster, "q", hard)
        assert await used(cluster) == dict.fromkeys(hard, "0")
        await cluster.client.create(PODS, pod("p", {"cpu": "500m", "memory": "252Mi"}))
        await cluster.settle(10)
        full = {"pods": "1", "cpu": "500m", "requests.memory": "252Mi", "limits.cpu": "500m", "count/pods": "1"}
        assert await used(cluster) == full
        done = {"status": {"phase": "Succeeded"}}
        await cluster.client.patch(PODS, "p", done, namespace="default", subresource="status")
        await cluster.settle(10)
        assert await used(cluster) == {**dict.fromkeys(hard, "0"), "count/pods": "1"}
        await cluster.client.delete(PODS, "p", namespace="default")
        await cluster.settle(10)
        assert await used(cluster) == dict.fromkeys(hard, "0")

    scenario(main)


def test_a_pod_counts_in_the_quotas_whose_scope_means_it() -> None:
    async def main(cluster: Cluster) -> None:
        await limit(cluster, "best", {"pods": "5"}, scopes=["BestEffort"])
        await limit(cluster, "not-best", {"pods": "5"}, scopes=["NotBestEffort"])
        await limit(cluster, "ending", {"pods": "5"}, scopes=["Terminating"])
        await cluster.client.create(PODS, pod("a"))
        await cluster.client.create(PODS, pod("b", {"cpu": "1"}, activeDeadlineSeconds=3600))
        await cluster.client.create(PODS, pod("c", {"cpu": "1"}))
        await cluster.settle(10)
        counts = [(await used(cluster, name))["pods"] for name in ("best", "not-best", "ending")]
        assert counts == ["1", "2", "1"]

    scenario(main)


def test_what_is_limited_is_told_as_soon_as_it_changes() -> None:
    async def main(cluster: Cluster) -> None:
        await limit(cluster, "q", {"pods": "5"})
        await cluster.client.create(PODS, pod("p"))
        await cluster.client.patch(
            RESOURCEQUOTAS, "q", {"spec": {"hard": {"configmaps": "7"}}}, namespace="default"
        )  # fmt: skip
        await cluster.settle(10)
        status = (await cluster.client.get(RESOURCEQUOTAS, "q", namespace="default"))["status"]
        assert status["hard"] == {"pods": "5", "configmaps": "7"}
        assert status["used"]["pods"] == "1" and int(status["used"]["configmaps"]) >= 0

    scenario(main)


def test_a_status_that_somebody_overwrites_is_put_right() -> None:
    async def main(cluster: Cluster) -> None:
        await limit(cluster, "q", {"pods": "5"})
        wrong = {"status": {"used": {"pods": "4"}}}
        await cluster.client.patch(RESOURCEQUOTAS, "q", wrong, namespace="default", subresource="status")
        await cluster.settle(10)
        assert await used(cluster) == {"pods": "0"}

    scenario(main)
