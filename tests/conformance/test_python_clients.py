"""The other Python clients: informers, leader election, asynchronous and typed ones, each against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import kr8s
import kubernetes
import kubernetes_asyncio
import lightkube
import pytest
from kr8s.asyncio.objects import ConfigMap as Kr8sConfigMap
from kr8s.asyncio.objects import Deployment as Kr8sDeployment
from kubernetes.informer import SharedInformer
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap
from tests.conformance.cluster import Cluster
from tests.connections import until_all_are_closed
from tests.lifetimes import BOUND

pytestmark = pytest.mark.every_store


def deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }


def wait_until(condition: Callable[[], bool]) -> None:
    """Fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def official(cluster: Cluster) -> Iterator[kubernetes.client.ApiClient]:
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield client
        client.rest_client.pool_manager.clear()


CANDIDATE = """
import sys, time
import kubernetes
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
namespace, identity = sys.argv[1:]
kubernetes.config.load_kube_config()

def lead():
    print("leading", flush=True)
    time.sleep(60)

lock = LeaseLock("leader", namespace, identity)
settings = electionconfig.Config(
    lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=lead, onstopped_leading=None
)
leaderelection.LeaderElection(settings).run()
"""


@contextlib.contextmanager
def candidate(cluster: Cluster, namespace: str, identity: str) -> Iterator[subprocess.Popen[str]]:
    """A process that wants to lead, and prints "leading" when it does."""
    process = subprocess.Popen(
        [*BOUND, sys.executable, "-c", CANDIDATE, namespace, identity],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def says_leading(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return any(line == "leading\n" for line in process.stdout)


def test_a_candidate_of_the_official_client_leads_when_the_leader_dies(
    cluster: Cluster, official: kubernetes.client.ApiClient, namespace: str
) -> None:
    leases = kubernetes.client.CoordinationV1Api(official)
    with candidate(cluster, namespace, "one") as one:
        assert says_leading(one)
        assert leases.read_namespaced_lease("leader", namespace).spec.holder_identity == "one"
        with candidate(cluster, namespace, "two") as two:
            one.kill()
            assert says_leading(two)
            assert leases.read_namespaced_lease("leader", namespace).spec.holder_identity == "two"


def test_the_official_clients_informer_keeps_a_true_copy(official: kubernetes.client.ApiClient, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(official)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "before"}, "data": {"a": "1"}})
    informer = SharedInformer(
        core.list_namespaced_config_map, namespace=namespace, field_selector="metadata.name!=kube-root-ca.crt"
    )
    informer.start()
    try:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "after"}, "data": {"a": "2"}})
        core.patch_namespaced_config_map("before", namespace, {"data": {"a": "3"}})

        def held() -> dict[str, str]:
            return {one.metadata.name: one.data["a"] for one in informer.cache.list()}

        wait_until(lambda: held() == {"before": "3", "after": "2"})
        core.delete_namespaced_config_map("before", namespace)
        wait_until(lambda: held() == {"after": "2"})
    finally:
        informer.stop()


async def test_kubernetes_asyncio_lists_watches_and_applies(cluster: Cluster, namespace: str) -> None:
    await kubernetes_asyncio.config.load_kube_config(str(cluster.kubeconfig))
    async with kubernetes_asyncio.client.ApiClient() as client:
        core = kubernetes_asyncio.client.CoreV1Api(client)
        seen: list[tuple[str, str]] = []

        async def follow() -> None:
            async with kubernetes_asyncio.watch.Watch() as watch:
                async for event in watch.stream(core.list_namespaced_config_map, namespace, timeout_seconds=10):
                    if event["object"].metadata.name == "life":
                        seen.append((event["type"], (event["object"].data or {}).get("a", "")))
                        if event["type"] == "DELETED":
                            return

        following = asyncio.create_task(follow())
        await core.create_namespaced_config_map(namespace, {"metadata": {"name": "life"}, "data": {"a": "1"}})
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "life"}, "data": {"a": "2"}}
        made = await core.patch_namespaced_config_map(
            "life", namespace, applied, field_manager="async", force=True, _content_type="application/apply-patch+yaml"
        )
        assert [one.manager for one in made.metadata.managed_fields if one.operation == "Apply"] == ["async"]
        await core.delete_namespaced_config_map("life", namespace)
        await following
    await until_all_are_closed()
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_lightkube_applies_lists_patches_scales_and_waits(cluster: Cluster, namespace: str) -> None:
    config = lightkube.KubeConfig.from_file(cluster.kubeconfig)
    client = lightkube.Client(config, namespace=namespace, field_manager="lightkube-test")
    try:
        client.apply(ConfigMap(metadata=ObjectMeta(name="a", namespace=namespace), data={"k": "v"}))
        client.apply(ConfigMap(metadata=ObjectMeta(name="a", namespace=namespace), data={"k": "w"}))
        assert client.get(ConfigMap, "a").data == {"k": "w"}
        made = client.create(Deployment.from_dict(deployment("web")))
        assert made.spec and made.spec.strategy and made.spec.strategy.type == "RollingUpdate"
        scale = client.get(Deployment.Scale, "web")
        assert scale.spec and scale.metadata
        scale.spec.replicas = 3
        scale.metadata.resourceVersion = None  # the controller may write the status between these two
        client.replace(scale, "web")
        assert client.get(Deployment, "web").spec.replicas == 3
        client.patch(Deployment, "web", {"metadata": {"labels": {"tier": "front"}}})
        assert [one.metadata.name for one in client.list(Deployment, labels={"tier": "front"})] == ["web"]
        client.delete(Deployment, "web")
        with pytest.raises(lightkube.ApiError) as refused:
            client.get(Deployment, "web")
        assert refused.value.status.reason == "NotFound"
    finally:
        client._client._client.close()


@pytest.fixture
async def kr8s_api(cluster: Cluster, namespace: str) -> AsyncIterator[kr8s.asyncio.Api]:
    api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
    yield api
    # It is kept for whoever asks for it again, and has no end of its own: its connections would outlive their loop.
    assert api._session
    await api._session.aclose()
    await until_all_are_closed()


@pytest.mark.filterwarnings("ignore:Kubernetes version v1.36:UserWarning")
async def test_kr8s_creates_selects_patches_and_deletes(kr8s_api: kr8s.asyncio.Api, namespace: str) -> None:
    api = kr8s_api
    web = await Kr8sDeployment(deployment("web") | {"metadata": {"name": "web", "namespace": namespace}}, api=api)
    await web.create()
    await web.scale(2)
    assert web.replicas == 2
    await web.label({"tier": "front"})
    found = [one.name async for one in api.get("deployments", namespace=namespace, label_selector={"tier": "front"})]
    assert found == ["web"]
    settings = await Kr8sConfigMap({"metadata": {"name": "s", "namespace": namespace}, "data": {"a": "1"}}, api=api)
    await settings.create()
    await settings.patch({"data": {"a": "2"}})
    assert settings.data.a == "2"
    await web.delete()
    await web.wait("delete", timeout=20)
    assert not await web.exists()
    assert (await api.version())["gitVersion"].startswith("v1.36")
