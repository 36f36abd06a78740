"""A deleted namespace takes everything it holds along, and goes only when it is empty."""

from __future__ import annotations

import asyncio

import pytest
from tests.controllers.cluster import Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, RESOURCES, SERVICEACCOUNTS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import name_of
from kontinuum.api.machinery.status import ApiError, internal_error
from kontinuum.client.transport.port import Request


async def make_namespace(cluster: Cluster) -> None:
    await cluster.client.create(NAMESPACES, {"metadata": {"name": "n"}})
    web = deployment()
    await cluster.client.create(DEPLOYMENTS, {**web, "metadata": {"name": "web", "namespace": "n"}})
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "n"}})
    await cluster.settle()


def content(cluster: Cluster) -> list[str]:
    return [
        f"{resource.plural}/{name_of(obj)}"
        for resource in RESOURCES
        for obj in cluster.everything(resource)
        if obj["metadata"].get("namespace") == "n" and resource.plural != "events"
    ]


def test_everything_goes_and_then_the_namespace() -> None:
    async def main(cluster: Cluster) -> None:
        await make_namespace(cluster)
        assert len(content(cluster)) == 7
        await cluster.client.delete(NAMESPACES, "n")
        await cluster.settle(30)
        assert content(cluster) == []
        with pytest.raises(ApiError) as caught:
            await cluster.client.get(NAMESPACES, "n")
        assert caught.value.is_not_found

    scenario(main)


def test_a_namespace_waits_for_its_last_pod_to_stop() -> None:
    async def main(cluster: Cluster) -> None:
        await make_namespace(cluster)
        cluster.nodes.stop_seconds = 25
        await cluster.client.delete(NAMESPACES, "n")
        await asyncio.sleep(20)
        namespace = await cluster.client.get(NAMESPACES, "n")
        remaining = get_condition(namespace, "NamespaceContentRemaining")
        assert remaining is not None
        assert "pods. has 3 resource instances" in remaining["message"], "and what waits for them"
        # The good ones too: the conformance suite takes them for a sign that the namespace has been looked into.
        told = {one["type"]: one["status"] for one in namespace["status"]["conditions"]}
        assert told == {
            "NamespaceDeletionDiscoveryFailure": "False",
            "NamespaceDeletionGroupVersionParsingFailure": "False",
            "NamespaceDeletionContentFailure": "False",
            "NamespaceContentRemaining": "True",
            "NamespaceFinalizersRemaining": "False",
        }
        await asyncio.sleep(10)
        assert [name_of(one) for one in cluster.everything(NAMESPACES) if name_of(one) == "n"] == []

    scenario(main)


def test_a_namespace_says_which_finalizer_holds_it() -> None:
    async def main(cluster: Cluster) -> None:
        await make_namespace(cluster)
        held = {"metadata": {"finalizers": ["example.com/hold"]}}
        await cluster.client.patch(CONFIGMAPS, "c", held, namespace="n")
        await cluster.client.delete(NAMESPACES, "n")
        await cluster.settle(60)
        assert content(cluster) == ["configmaps/c"]
        finalizers = get_condition(await cluster.client.get(NAMESPACES, "n"), "NamespaceFinalizersRemaining")
        assert finalizers is not None and "example.com/hold in 1 resource instances" in finalizers["message"]
        await cluster.client.patch(CONFIGMAPS, "c", {"metadata": {"finalizers": None}}, namespace="n")
        await cluster.settle(60)
        assert all(name_of(one) != "n" for one in cluster.everything(NAMESPACES))

    scenario(main)


def test_a_namespace_stays_while_a_kind_cannot_be_listed() -> None:
    async def main(cluster: Cluster) -> None:
        await make_namespace(cluster)

        def broken(request: Request) -> ApiError | None:
            return internal_error("no configmaps today") if request.path.endswith("n/configmaps") else None

        cluster.faults.refuse = broken
        await cluster.client.delete(NAMESPACES, "n")
        await cluster.settle(60)
        assert content(cluster) == ["configmaps/c"]
        failure = get_condition(await cluster.client.get(NAMESPACES, "n"), "NamespaceDeletionContentFailure")
        assert failure is not None and "no configmaps today" in failure["message"]
        cluster.faults.refuse = lambda request: None
        await cluster.settle(60)
        assert content(cluster) == []

    scenario(main)


def test_every_namespace_has_a_default_service_account_also_after_somebody_deleted_it() -> None:
    async def main(cluster: Cluster) -> None:
        await make_namespace(cluster)
        namespaces = {name_of(one) for one in cluster.everything(NAMESPACES)}
        assert {one["metadata"]["namespace"] for one in cluster.everything(SERVICEACCOUNTS)} == namespaces
        await cluster.client.delete(SERVICEACCOUNTS, "default", namespace="n")
        await cluster.settle(5)
        assert len(cluster.everything(SERVICEACCOUNTS)) == len(namespaces)
        assert len(cluster.everything(PODS)) == 3

    scenario(main)
