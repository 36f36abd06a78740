"""A dry run of any write answers what the write would, and leaves the store as it was."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.apiserver.every_kind import SAMPLES, certificate_request
from tests.apiserver.serving import (
    CONFIGMAPS,
    DEPLOYMENTS,
    PATCH_TYPES,
    PODS,
    Api,
    Certificates,
    configmap,
    deployment,
    pod,
    serving,
)  # fmt: skip

from kontinuum.store.memory.store import MemoryStore

EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
APPROVED = {"type": "Approved", "status": "True", "reason": "Test"}
SERVICES = "/api/v1/namespaces/default/services"
# method, path, body, kind of patch, code
WRITES: list[tuple[str, str, Any, str, int]] = [
    ("POST", CONFIGMAPS, configmap("new"), "", 201),
    ("POST", CONFIGMAPS, configmap("a"), "", 409),
    ("POST", CONFIGMAPS, {"metadata": {"generateName": "new-"}}, "", 201),
    ("PUT", f"{CONFIGMAPS}/a", configmap("a", x="2"), "", 200),
    ("PUT", "/api/v1/namespaces/default/endpoints/new", {"metadata": {"name": "new"}}, "", 201),
    ("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, "merge", 200),
    ("PATCH", f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, "strategic", 200),
    ("PATCH", f"{CONFIGMAPS}/a", [{"op": "add", "path": "/data", "value": {}}], "json", 200),
    ("PATCH", f"{CONFIGMAPS}/new?fieldManager=t", {"apiVersion": "v1", "kind": "ConfigMap"}, "apply", 201),
    ("DELETE", f"{CONFIGMAPS}/a", None, "", 200),
    ("DELETE", f"{CONFIGMAPS}/a?propagationPolicy=Foreground", None, "", 200),
    ("DELETE", CONFIGMAPS, None, "", 200),
    ("DELETE", "/api/v1/namespaces/other", None, "", 200),
    ("PATCH", f"{PODS}/p/status", {"status": {"message": "x"}}, "merge", 200),
    ("POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}, "", 201),
    ("POST", f"{PODS}/p/eviction", EVICTION, "", 201),
    ("PATCH", f"{PODS}/p/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}},
     "strategic", 200),
    ("PATCH", f"{PODS}/p/resize",
     {"spec": {"containers": [{"name": "main", "resizePolicy": [{"resourceName": "cpu",
                                                                 "restartPolicy": "NotRequired"}]}]}},
     "strategic", 200),
    ("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 5}}, "merge", 200),
    ("PATCH", f"{REQUESTS}/r/approval", {"status": {"conditions": [APPROVED]}}, "merge", 200),
    ("POST", SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, "", 201),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "kind", "code"), WRITES)
async def test_a_dry_run_stores_nothing(
    certificates: Certificates, method: str, path: str, body: Any, kind: str, code: int
) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await _some(api)
        before = await store.revision()
        query = f"{'&' if '?' in path else '?'}dryRun=All"
        headers = {"content_type": PATCH_TYPES[kind]} if kind else {}
        answer = await api.call(method, path + query, body, **headers)
        assert answer.code == code, answer.body
        assert await store.revision() == before
        refused = await api.call(method, f"{path}{query.replace('All', 'Some')}", body, **headers)
        assert refused.code == 422 and 'Unsupported value: "Some"' in refused.body["message"], refused.body


async def test_a_dry_run_gives_a_service_nothing_that_another_cannot_have(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.77"}}
    assert (await api.create(f"{SERVICES}?dryRun=All", body)).code == 201
    assert (await api.create(SERVICES, body | {"metadata": {"name": "other"}})).code == 201


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "10.96.0.77"}, "failed to allocate IP 10.96.0.77: provided IP is already allocated"),
        ({"clusterIP": "192.0.2.1"},
         "failed to allocate IP 192.0.2.1: the provided network does not match the current range"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30077}]}, "provided port is already allocated"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 99}]},
         "provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ],
)  # fmt: skip
async def test_a_dry_run_refuses_what_a_service_could_not_have(api: Api, spec: Any, expected: str) -> None:
    ports = [{"port": 80, "nodePort": 30077}]
    held = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.77", "ports": ports}}
    assert (await api.create(SERVICES, held)).code == 201
    asked = {"metadata": {"name": "t"}, "spec": {"ports": [{"port": 80}], **spec}}
    refused = await api.create(f"{SERVICES}?dryRun=All", asked)
    assert refused.code == 422 and refused.body["message"].endswith(expected), refused.body


@pytest.mark.parametrize("kind", SAMPLES)
async def test_every_kind_is_deleted_on_trial(api: Api, kind: str) -> None:
    sample = SAMPLES[kind]
    collection = sample.path.replace("NS", "default")
    body = orjson.loads(orjson.dumps(sample.body).replace(b'"NS"', b'"default"'))
    assert (await api.create(collection, body | {"metadata": {"name": sample.name}})).code == 201
    path = f"{collection}/{sample.name}"
    before = (await api.get(path)).body
    assert (await api.delete(f"{path}?dryRun=All")).code == 200
    assert (await api.delete(path, {"dryRun": ["All"]})).code == 200
    assert (await api.get(path)).body == before


async def _some(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a", x="1"))
    await api.create(PODS, pod("p"))
    await api.create(DEPLOYMENTS, deployment("d"))
    await api.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    spec = {"request": certificate_request(), "signerName": "example.com/x", "usages": ["client auth"]}
    made = await api.create(REQUESTS, {"metadata": {"name": "r"}, "spec": spec})
    assert made.code == 201, made.body
