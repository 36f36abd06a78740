"""Clients that we did not write: the official Python client, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from tests.apiserver.serving import Certificates, make_certificates, serving

from kontinuum.store.memory.store import MemoryStore


class Serving:
    """A server on a thread of its own, because the official client blocks."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self.address = ""

    def __enter__(self) -> Serving:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with serving(MemoryStore(), self._certificates) as api:
            self.address = api.address
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes.client.ApiClient]:
    certificates = make_certificates(tmp_path_factory.mktemp("pki"))
    with Serving(certificates) as server:
        configuration = kubernetes.client.Configuration(host=server.address)
        configuration.ssl_ca_cert = str(certificates.authority)
        configuration.cert_file = str(certificates.admin.certificate)
        configuration.key_file = str(certificates.admin.key)
        with kubernetes.client.ApiClient(configuration) as client:
            yield client
            client.rest_client.pool_manager.clear()


@pytest.fixture
def core(client: kubernetes.client.ApiClient) -> kubernetes.client.CoreV1Api:
    return kubernetes.client.CoreV1Api(client)


@pytest.fixture
def apps(client: kubernetes.client.ApiClient) -> kubernetes.client.AppsV1Api:
    return kubernetes.client.AppsV1Api(client)


def _configmap(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "localhost/nginx:1"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def test_the_python_client_creates_reads_changes_and_deletes(core: kubernetes.client.CoreV1Api) -> None:
    made = core.create_namespaced_config_map("default", _configmap("life", a="1"))
    assert made.metadata.uid and made.data == {"a": "1"}
    made.data = {"a": "2"}
    assert core.replace_namespaced_config_map("life", "default", made).data == {"a": "2"}
    assert core.patch_namespaced_config_map("life", "default", {"data": {"b": "3"}}).data == {"a": "2", "b": "3"}
    assert core.read_namespaced_config_map("life", "default").data == {"a": "2", "b": "3"}
    assert core.delete_namespaced_config_map("life", "default")["status"] == "Success"
    with pytest.raises(ApiException) as refused:
        core.read_namespaced_config_map("life", "default")
    assert refused.value.status == 404 and '"reason":"NotFound"' in refused.value.body


def test_the_python_client_understands_every_answer_about_a_deployment(apps: kubernetes.client.AppsV1Api) -> None:
    made = apps.create_namespaced_deployment("default", _deployment("web"))
    assert made.spec.replicas == 1 and made.spec.strategy.type == "RollingUpdate"
    assert made.spec.template.spec.containers[0].image_pull_policy == "IfNotPresent"
    scale = apps.read_namespaced_deployment_scale("web", "default")
    scale.spec.replicas = 4
    assert apps.replace_namespaced_deployment_scale("web", "default", scale).spec.replicas == 4
    reported = apps.patch_namespaced_deployment_status(
        "web", "default", {"status": {"replicas": 2, "readyReplicas": 2}}
    )
    assert reported.status.ready_replicas == 2 and reported.spec.replicas == 4
    (listed,) = apps.list_namespaced_deployment("default", label_selector="", field_selector="metadata.name=web").items
    assert listed.metadata.name == "web"
    apps.delete_namespaced_deployment("web", "default", propagation_policy="Background")
    assert apps.list_deployment_for_all_namespaces().items == []


def test_the_python_client_understands_a_pods_defaults_binding_and_graceful_end(
    core: kubernetes.client.CoreV1Api,
) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "localhost/busybox:1"}]}}
    made = core.create_namespaced_pod("default", pod)
    assert made.status.phase == "Pending" and made.spec.restart_policy == "Always"
    assert made.spec.service_account_name == "default" and made.status.qos_class == "BestEffort"
    binding = kubernetes.client.V1Binding(
        metadata=kubernetes.client.V1ObjectMeta(name="p"),
        target=kubernetes.client.V1ObjectReference(kind="Node", name="n1"),
    )
    core.create_namespaced_pod_binding("p", "default", binding, _preload_content=False)
    assert core.read_namespaced_pod("p", "default").spec.node_name == "n1"
    ending = core.delete_namespaced_pod("p", "default", grace_period_seconds=3)
    assert ending.metadata.deletion_grace_period_seconds == 3
    core.delete_namespaced_pod("p", "default", grace_period_seconds=0)
    assert core.list_namespaced_pod("default").items == []


def test_the_python_client_pages_through_a_list(core: kubernetes.client.CoreV1Api) -> None:
    core.create_namespace({"metadata": {"name": "pages"}})
    for number in range(5):
        core.create_namespaced_config_map("pages", _configmap(f"c{number}"))
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map("pages", limit=2, _continue=token)
        names += [one.metadata.name for one in page.items]
        token = page.metadata._continue or ""
    assert names == [f"c{number}" for number in range(5)]


def test_the_python_clients_watch_sees_changes_and_resumes(core: kubernetes.client.CoreV1Api) -> None:
    core.create_namespace({"metadata": {"name": "watched"}})
    since = core.list_namespaced_config_map("watched").metadata.resource_version
    core.create_namespaced_config_map("watched", _configmap("a"))
    core.patch_namespaced_config_map("a", "watched", {"data": {"x": "1"}})
    core.delete_namespaced_config_map("a", "watched")
    seen = []
    watch = Watch()
    for event in watch.stream(core.list_namespaced_config_map, "watched", resource_version=since, timeout_seconds=5):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watch.stop()
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_the_python_clients_dynamic_deletecollection_and_leases_work(client: kubernetes.client.ApiClient) -> None:
    leases = kubernetes.client.CoordinationV1Api(client)
    for name in ("one", "two"):
        leases.create_namespaced_lease("default", {"metadata": {"name": name}, "spec": {"holderIdentity": name}})
    leases.delete_collection_namespaced_lease("default")
    assert leases.list_namespaced_lease("default").items == []


def test_a_conflict_reaches_the_python_client_as_one(core: kubernetes.client.CoreV1Api) -> None:
    made = core.create_namespaced_config_map("default", _configmap("contended"))
    core.patch_namespaced_config_map("contended", "default", {"data": {"x": "1"}})
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_config_map("contended", "default", made)
    assert refused.value.status == 409
    with contextlib.suppress(ApiException):
        core.delete_namespaced_config_map("contended", "default")


def test_certificates_are_what_the_client_says(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with Serving(certificates) as server:
        configuration = kubernetes.client.Configuration(host=server.address)
        configuration.ssl_ca_cert = str(certificates.authority)
        with kubernetes.client.ApiClient(configuration) as client:
            with pytest.raises(ApiException) as refused:
                kubernetes.client.CoreV1Api(client).list_namespace()
            client.rest_client.pool_manager.clear()
    assert refused.value.status == 401
