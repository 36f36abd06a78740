"""Whatever a client sends, it gets a Status that says what was wrong; never a trace, never a hang."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import orjson
import pytest
from tests.apiserver.serving import (
    CONFIGMAPS,
    DEPLOYMENTS,
    PODS,
    Api,
    Certificates,
    client_tls,
    configmap,
    deployment,
    make_certificates,
    pod,
    serving,
)

from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Record, StoreFull, StoreUnavailable


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/pods", "/api/v1/gadgets", "/apis/apps/v1/gadgets", "/api/v1/pods/x", "/api/v1/namespaces//pods",
        f"{PODS}/x/gadget", f"{PODS}/x/status/more", "/apis/apps/v1/namespaces/default/deployments/x/log", "/nowhere",
        "/api/v1/namespaces/default/nodes",
    ],
)  # fmt: skip
async def test_unknown_paths_are_not_found(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body["kind"], answer.body["reason"]) == (404, "Status", "NotFound")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400), (b"[]", 400), (b'"x"', 400), (b"null", 400), (b"", 400), (b"\xff\xfe", 400),
        (b'{"metadata": 3}', 400), (b'{"metadata": {"name": 3}}', 400), (b'{"metadata": {"name": "A b"}}', 422),
        (b'{"metadata": {"name": "a", "labels": []}}', 400), (b'{"metadata": {"name": "a", "labels": {"x": 1}}}', 400),
        (b'{"metadata": {"name": "a", "labels": {"-": "x"}}}', 422),
        (b'{"metadata": {"name": "a", "finalizers": 1}}', 400),
        (b'{"kind": "Pod", "metadata": {"name": "a"}}', 400), (b'{"apiVersion": "v2", "metadata": {"name": "a"}}', 400),
        (b'{"metadata": {"name": "a"}, "data": {"x": null}}', 201), (b'{"metadata": {"name": "a", "uid": "u"}}', 201),
        (b'{"kind": 3, "metadata": {"name": "a"}}', 400), (b'{"metadata": {"name": "a", "resourceVersion": "1"}}', 400),
        (b'{"metadata": {"name": "a", "generateName": 1}}', 400),
        (b'{"metadata": {"name": "a", "namespace": {}}}', 400),
    ],
)  # fmt: skip
async def test_malformed_objects_are_refused_by_what_is_wrong_with_them(api: Api, body: bytes, code: int) -> None:
    answer = await api.create(CONFIGMAPS, body)
    assert answer.code == code, answer.body
    assert answer.body["kind"] == ("ConfigMap" if code == 201 else "Status")


async def test_json_that_is_nested_too_deeply_is_refused(api: Api) -> None:
    revisions = "/apis/apps/v1/namespaces/default/controllerrevisions"
    bomb = b'{"metadata":{"name":"a"},"revision":1,"data":' + b'{"a":' * 900 + b"1" + b"}" * 901
    refused = await api.create(revisions, bomb)
    assert refused.code == 400 and refused.body["kind"] == "Status"
    await api.create(revisions, {"metadata": {"name": "a"}, "revision": 1, "data": {}})
    patched = await api.call("PATCH", f"{revisions}/a", bomb, content_type="application/merge-patch+json")
    assert patched.code == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("PATCH", f"{CONFIGMAPS}/a", b"{", 400),
        ("PATCH", f"{CONFIGMAPS}/a", b"[]", 400),
        ("PATCH", f"{CONFIGMAPS}/a", b'{"metadata": null}', 200),
        ("PATCH", f"{CONFIGMAPS}/a", b'{"metadata": "x"}', 422),
        ("PATCH", f"{CONFIGMAPS}/a", b'{"metadata": {"name": "b"}}', 400),
        ("PATCH", f"{CONFIGMAPS}/a", b'{"data": 5}', 422),
        ("PATCH", f"{CONFIGMAPS}/missing", b"{}", 404),
        ("PUT", f"{CONFIGMAPS}/a", b'{"metadata": {"name": "b"}}', 400),
        ("PUT", f"{CONFIGMAPS}/a", b"", 400),
        ("DELETE", f"{CONFIGMAPS}/a", b'{"preconditions": 3}', 400),
        ("DELETE", f"{CONFIGMAPS}/a", b'{"gracePeriodSeconds": "x"}', 400),
        ("DELETE", f"{CONFIGMAPS}/a", b'{"kind": "Pod"}', 400),
        ("DELETE", f"{CONFIGMAPS}/a?gracePeriodSeconds=x", b"", 400),
        ("DELETE", f"{CONFIGMAPS}/a?dryRun=some", b"", 422),
        ("GET", f"{CONFIGMAPS}?labelSelector=a&limit=99999999999999999999", b"", 400),
        ("POST", f"{CONFIGMAPS}?dryRun=some", b"{}", 422),
        ("POST", f"{CONFIGMAPS}?fieldValidation=Perhaps", b'{"metadata": {"name": "x"}}', 422),
        ("POST", f"{CONFIGMAPS}/a", b"{}", 405),
        ("PUT", CONFIGMAPS, b"{}", 405),
        ("OPTIONS", CONFIGMAPS, b"", 405),
        ("GET", f"{CONFIGMAPS}?watch=perhaps", b"", 200),
    ],
)
async def test_malformed_requests_are_refused_by_what_is_wrong_with_them(
    api: Api, method: str, path: str, body: bytes, code: int
) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    if "watch" in path:
        path += "&timeoutSeconds=1"
    answer = await api.call(method, path, body or None, content_type=media)
    assert answer.code == code, answer.body
    if code >= 400:
        assert answer.body["kind"] == "Status" and answer.body["message"] and answer.headers["Audit-Id"]


@pytest.mark.parametrize(
    ("subresource", "body", "code"),
    [
        ("binding", {}, 422), ("binding", {"target": 3}, 400), ("binding", {"kind": "Pod"}, 400),
        ("binding", {"target": {"name": "n", "kind": "Pod"}}, 422), ("eviction", {"deleteOptions": []}, 400),
        ("eviction", {"metadata": {"name": "other"}}, 400),
    ],
)  # fmt: skip
async def test_malformed_subresources_are_refused(api: Api, subresource: str, body: object, code: int) -> None:
    await api.create(PODS, pod("p"))
    assert (await api.create(f"{PODS}/p/{subresource}", body)).code == code


async def test_a_scale_patch_with_nonsense_is_refused(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    for spec in ("x", {"replicas": "x"}, {"replicas": True}, [1]):
        assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": spec})).code in (400, 422)


async def test_a_body_beyond_the_limit_is_refused(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, maximum_body_bytes=1000) as api:
        answer = await api.create(CONFIGMAPS, configmap("a", x="y" * 1000))
        assert (answer.code, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_client_that_waits_for_leave_to_send_gets_it(api: Api) -> None:
    answer = await api.create(CONFIGMAPS, configmap("a", x="y" * 100_000), expect="100-continue")
    assert answer.code == 201


async def test_an_unknown_body_format_is_refused(api: Api) -> None:
    answer = await api.create(CONFIGMAPS, b"<xml/>", content_type="text/xml")
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")


async def test_head_answers_like_get_without_a_body(api: Api) -> None:
    answer = await api.call("HEAD", "/api/v1/namespaces/default")
    assert answer.code == 200 and answer.body == ""


async def test_a_client_without_credentials_is_refused_but_may_ask_for_health(
    api: Api, certificates: Certificates
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{api.address}/api/v1/pods", ssl=False) as answer:
            assert answer.status == 401 and orjson.loads(await answer.read())["reason"] == "Unauthorized"
        async with session.get(f"{api.address}/metrics", ssl=False) as answer:
            assert answer.status == 401
        for path in ("/healthz", "/livez", "/readyz"):
            async with session.get(api.address + path, ssl=False) as answer:
                assert (answer.status, await answer.text()) == (200, "ok")


async def test_a_certificate_of_another_authority_is_not_accepted(
    api: Api, tmp_path: Path, certificates: Certificates
) -> None:
    stranger = make_certificates(tmp_path)
    tls = client_tls(certificates)
    tls.load_cert_chain(stranger.admin.certificate, stranger.admin.key)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get(f"{api.address}/api/v1/pods", ssl=tls) as answer:
                await answer.read()


async def test_health_says_what_it_checks(api: Api) -> None:
    verbose = await api.get("/readyz?verbose")
    assert verbose.code == 200 and "[+]store ok" in verbose.body and "readyz check passed" in verbose.body
    assert (await api.get("/readyz/store")).body == "ok"
    assert (await api.get("/readyz/nothing")).code == 404


async def test_metrics_count_requests_objects_and_watches(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    async with api.watch(CONFIGMAPS, "resourceVersion=1"):
        text = (await api.get("/metrics")).body
    labels = 'code="201",resource="configmaps",subresource="",verb="create"'
    assert f"apiserver_request_total{{{labels}}} 1.0" in text
    assert 'apiserver_storage_objects{resource="configmaps"} 2.0' in text, "it, and the one that is always there"
    assert 'apiserver_longrunning_requests{resource="configmaps"} 1.0' in text
    assert 'apiserver_request_duration_seconds_count{resource="configmaps",verb="create"} 1.0' in text


class _FailingStore(MemoryStore):
    """Refuses writes with the error it is given."""

    failure: Exception | None = None

    async def create(self, key: str, value: bytes) -> Record:
        if self.failure is not None:
            raise self.failure
        return await super().create(key, value)


async def test_a_full_store_refuses_writes_and_reads_go_on(certificates: Certificates) -> None:
    store = _FailingStore()
    async with serving(store, certificates) as api:
        await api.create(CONFIGMAPS, configmap("before"))
        store.failure = StoreFull("writing: no space left on the device")
        refused = await api.create(CONFIGMAPS, configmap("a"))
        assert (refused.code, refused.body["reason"]) == (507, "InsufficientStorage")
        assert "no space left" in refused.body["message"] and "reads go on" in refused.body["message"]
        assert (await api.get(f"{CONFIGMAPS}/before")).code == 200
        store.failure = None
        assert (await api.create(CONFIGMAPS, configmap("a"))).code == 201


async def test_a_store_that_does_not_answer_is_unavailable_for_a_while(certificates: Certificates) -> None:
    store = _FailingStore()
    async with serving(store, certificates) as api:
        store.failure = StoreUnavailable("the store does not answer")
        refused = await api.create(CONFIGMAPS, configmap("a"))
        assert (refused.code, refused.body["reason"]) == (503, "ServiceUnavailable")
        assert refused.headers["Retry-After"] == "1"
