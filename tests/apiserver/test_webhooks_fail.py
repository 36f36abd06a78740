"""A webhook that misbehaves costs its own requests only, never the server, and failurePolicy decides what they get."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.apiserver.hooks import (
    CLOSE,
    MUTATING,
    VALIDATING,
    HookServer,
    allow,
    configure,
    deny,
    hanging,
    hook_server,
    patched,
    patching,
    reviewed,
    settled,
)
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, configmap, serving

from kontinuum.api.kubernetes.structure import conform
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.admission.webhooks import calls
from kontinuum.apiserver.admission.webhooks.client import CallFailed
from kontinuum.apiserver.admission.webhooks.mutating import patched_object
from kontinuum.apiserver.admission.webhooks.reviews import verdict_of
from kontinuum.store.memory.store import MemoryStore

SERVED_AS = "hook.tools.svc"


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path, hosts=("127.0.0.1", SERVED_AS)) as hooks:
        yield hooks


def with_response(**changes: Any) -> Any:
    def answer(review: Any) -> Any:
        found = reviewed(review)
        found["response"].update(changes)
        return found

    return answer


def with_review(**changes: Any) -> Any:
    return lambda review: {**reviewed(review), **changes}


PATCH = base64.b64encode(b"[]").decode()
MISBEHAVIOUR = {
    "closes the connection": (lambda review: CLOSE, "EOF"),
    "answers rubbish": (lambda review: web.Response(body=b"\xff\x00"), "couldn't get version/kind; json parse error: "),
    "answers a list": (lambda review: [], "json: cannot unmarshal AdmissionReview: Expected `object`, got `array`"),
    "answers nothing": (lambda review: {}, "received invalid webhook response: webhook response was absent"),
    "fails": (lambda review: web.Response(status=503), "the server is currently unable to handle the request"),
    "answers 10 MB": (lambda review: "x" * 10_000_000, "the answer is longer than 8388608 bytes"),
    "has another uid": (with_response(uid="other"), '", got "other"'),
    "is of another version": (
        with_review(apiVersion="admission.k8s.io/v1beta1"),
        "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=",
    ),
    "is of no kind": (with_review(kind=None, apiVersion=None), "Kind=AdmissionReview, got /, Kind="),
    "allows with a word": (with_response(allowed="yes"), "Expected `bool | null`, got `str` - at `$.response.allowed`"),
}
MUTATING_ONLY = {
    "names no type": (with_response(patch=PATCH), "webhook returned response.patch but not response.patchType"),
    "has a type only": (with_response(patchType="JSONPatch"), "webhook returned response.patchType but not response."),
    "has an empty type": (with_response(patchType="", patch=PATCH), "returned invalid response.patchType of "),
    "has another type": (with_response(patchType="Merge", patch=PATCH), 'unsupported patch type "Merge"'),
    "is not base64": (with_response(patchType="JSONPatch", patch="@"), "Invalid base64 encoded string"),
}
VALIDATING_ONLY = {
    "patches": (with_response(patch=PATCH), "validating webhook may not return response.patch"),
    "has a patch type": (with_response(patchType="JSONPatch"), "validating webhook may not return response.patchType"),
}
CASES = [
    *((path, case) for path in (MUTATING, VALIDATING) for case in MISBEHAVIOUR.values()),
    *((MUTATING, case) for case in MUTATING_ONLY.values()),
    *((VALIDATING, case) for case in VALIDATING_ONLY.values()),
]


async def test_no_answer_or_a_wrong_one_is_a_failure(api: Api, hooks: HookServer) -> None:
    """One configuration per path, which every case uses in turn."""
    for path in (MUTATING, VALIDATING):
        selector = {"matchLabels": {"kind": path.rsplit("/", 1)[1]}}
        await configure(
            api, path, "x",
            hooks.webhook("/open", failurePolicy="Ignore", objectSelector=selector),
            hooks.webhook("/closed", failurePolicy="Fail", objectSelector=selector),
        )  # fmt: skip
    for number, (path, (answer, words)) in enumerate(CASES):
        hooks.at("/open", answer)
        hooks.at("/closed", answer)
        name = f"m{number}"
        body = configmap(name, {"kind": path.rsplit("/", 1)[1]})
        found = await api.create(CONFIGMAPS, body)
        assert (found.code, found.body["reason"]) == (500, "InternalError")
        assert found.body["message"].startswith(
            'Internal error occurred: failed calling webhook "closed.example.com": '
        )
        assert words in found.body["message"]
        hooks.at("/closed", allow)
        assert (await api.create(CONFIGMAPS, body)).code == 201, words


async def test_patches_that_do_not_fit_are_the_webhooks_fault_even_if_failures_are_ignored(
    api: Api, hooks: HookServer
) -> None:
    await configure(api, MUTATING, "x", hooks.webhook("/x", failurePolicy="Ignore"))
    for patch in (b"{}", b"7", b"[1]", b'[{"op":"fly"}]', b'[{"op":"remove","path":"/nothing"}]', b"[", b"\xff"):
        encoded = base64.b64encode(patch).decode()
        hooks.at("/x", with_response(patchType="JSONPatch", patch=encoded))
        found = await api.create(CONFIGMAPS, configmap("x"))
        assert (found.code, found.body["reason"]) == (500, "InternalError"), patch
    for patch in (b"[]", b"null"):
        encoded = base64.b64encode(patch).decode()
        hooks.at("/x", with_response(patchType="JSONPatch", patch=encoded))
        assert (await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("x"))).code == 201


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "uid": st.just("1") | JSON,
        "allowed": st.booleans() | JSON,
        "status": JSON | st.fixed_dictionaries({}, optional={"code": JSON, "details": JSON, "message": JSON}),
        "patch": st.sampled_from([PATCH, "", "W10"]) | JSON,
        "patchType": st.sampled_from(["JSONPatch", ""]) | JSON,
        "auditAnnotations": JSON,
        "warnings": JSON,
    },
)
REVIEWS = JSON | st.fixed_dictionaries(
    {"kind": st.just("AdmissionReview") | JSON, "apiVersion": st.just("admission.k8s.io/v1") | JSON},
    optional={"response": RESPONSES | JSON},
)


@given(answer=REVIEWS, version=st.sampled_from(["v1", "v1beta1"]), is_mutating=st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_webhook_answers_is_a_verdict_or_a_failed_call(answer: Any, version: str, is_mutating: bool) -> None:
    try:
        verdict = verdict_of(answer, "x.example.com", version=version, uid="1", is_mutating=is_mutating)
    except CallFailed:
        return
    response = answer["response"]
    assert (verdict.denied is None) == bool(response.get("allowed"))
    assert is_mutating or not verdict.patch
    if verdict.denied is not None:
        assert 400 <= verdict.denied.code < 600
        assert verdict.denied.to_status()["message"].startswith('admission webhook "x.example.com" denied the request')
        assert verdict.denied.retry_after_seconds is not None


STEPS = st.sampled_from(["data", "metadata", "labels", "a", "0", "-", "-1", "~1", "~", "kind", "finalizers", ""])
POINTERS = st.lists(STEPS, max_size=4).map(lambda steps: "".join(f"/{step}" for step in steps))
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | JSON,
        "path": POINTERS | JSON,
        "from": POINTERS | JSON,
        "value": JSON,
    },
)


@given(operations=st.lists(OPERATIONS | JSON, max_size=4))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_webhook_patches_is_an_object_of_the_kind_or_its_fault(operations: list[Any]) -> None:
    metadata = {"name": "x", "labels": {"a": "b"}, "finalizers": ["a/b", "c/d"]}
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": "1"}}
    before = orjson.dumps(obj)
    try:
        changed = patched_object(obj, operations, lambda one: conform(one, "v1", "ConfigMap"))
    except ApiError as error:
        assert error.code == 500
    else:
        assert (changed["kind"], changed["apiVersion"]) == ("ConfigMap", "v1")
        assert isinstance(changed["metadata"], dict)
        assert all(isinstance(one, str) for one in (changed.get("data") or {}).values())
    assert orjson.dumps(obj) == before


async def test_a_dry_run_reaches_only_webhooks_without_side_effects(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", allow)
    await configure(api, VALIDATING, "x", hooks.webhook("/x", sideEffects="NoneOnDryRun"))
    assert (await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("x"))).code == 201
    assert hooks.asked[0].request["dryRun"] is True
    # Only what was stored by an older server can have others.
    key = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/old"
    webhook = hooks.webhook("/x", sideEffects="Some", failurePolicy="Ignore")
    store = api.server._context.store
    record = await store.create(key, stored("old", webhook))
    await settled(api, VALIDATING, str(record.revision))
    found = await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("x"))
    assert (found.code, found.body["message"]) == (400, 'admission webhook "x.example.com" does not support dry run')
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 201


def stored(name: str, webhook: dict[str, Any]) -> bytes:
    head = {"kind": "ValidatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1"}
    return orjson.dumps({**head, "metadata": {"name": name, "uid": "u"}, "webhooks": [webhook]})


async def test_all_webhooks_of_a_request_share_one_limit_of_time(
    api: Api, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUEST_SECONDS", 0.5)
    hooks.at("/x", hanging(60))
    hooks.at("/y", allow)
    slow = hooks.webhook("/x", failurePolicy="Ignore")
    await configure(api, MUTATING, "x", slow, hooks.webhook("/y"))
    found = await api.create(CONFIGMAPS, configmap("x"))
    assert (found.code, found.body["reason"]) == (504, "Timeout")
    assert found.body["message"] == "Timeout: request did not complete within requested timeout"
    assert [one.path.partition("?")[0] for one in hooks.asked] == ["/x"]


async def test_a_service_is_asked_under_its_name(api: Api, hooks: HookServer) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "tools"}})
    webhook = hooks.webhook("/x", clientConfig={
        "service": {"name": "hook", "namespace": "tools", "path": "/x", "port": hooks.port}, "caBundle": hooks.bundle,
    })  # fmt: skip
    await configure(api, VALIDATING, "x", webhook)
    hooks.at("/x", deny("found it"))
    found = await api.create(CONFIGMAPS, configmap("x"))
    url = f"https://{SERVED_AS}:{hooks.port}/x?timeout=10s"
    assert found.body["message"] == (
        'Internal error occurred: failed calling webhook "x.example.com": failed to call webhook: '
        f'Post "{url}": service "hook" not found'
    )
    spec = {"type": "ExternalName", "externalName": "localhost"}
    await api.create("/api/v1/namespaces/tools/services", {"metadata": {"name": "hook"}, "spec": spec})
    found = await api.create(CONFIGMAPS, configmap("x"))
    assert found.body["message"] == 'admission webhook "x.example.com" denied the request: found it'


async def test_what_webhooks_do_is_counted(api: Api, hooks: HookServer) -> None:
    hooks.at("/yes", allow)
    hooks.at("/no", deny("no", code=403))
    hooks.at("/broken", lambda review: CLOSE)
    await configure(
        api, MUTATING, "x", hooks.webhook("/broken", failurePolicy="Ignore"),
        hooks.webhook("/never", matchConditions=[{"name": "never", "expression": "false"}]),
    )  # fmt: skip
    await configure(api, VALIDATING, "x", hooks.webhook("/yes"), hooks.webhook("/no"))
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 403
    text = (await api.get("/metrics")).body
    prefix = "apiserver_admission_"
    for line in (
        'webhook_request_total{code="200",name="yes.example.com",operation="CREATE",rejected="false",type="validating"}',
        'webhook_request_total{code="403",name="no.example.com",operation="CREATE",rejected="true",type="validating"}',
        'webhook_request_total{code="503",name="broken.example.com",operation="CREATE",rejected="false",type="admit"}',
        'webhook_rejection_count{error_type="no_error",name="no.example.com",operation="CREATE",'
        'rejection_code="403",type="validating"}',
        'webhook_fail_open_count{name="broken.example.com",type="admit"}',
        'webhook_admission_duration_seconds_count{name="yes.example.com",operation="CREATE",rejected="false",'
        'type="validating"}',
        'match_condition_exclusions_total{kind="webhook",name="never.example.com",operation="CREATE",type="admit"}',
    ):
        assert f"{sorted_labels(prefix + line)} 1.0" in [sorted_labels_of_sample(one) for one in text.splitlines()], (
            line
        )


def sorted_labels(series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    return f"{name}{{{','.join(sorted(labels.split(',')))}}}"


def sorted_labels_of_sample(line: str) -> str:
    series, _, value = line.rpartition(" ")
    return f"{sorted_labels(series)} {value}" if "{" in series else line


async def test_requests_under_way_keep_the_configuration_that_they_began_with(api: Api, hooks: HookServer) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(review: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return patched(review, {"op": "add", "path": "/data", "value": {"first": "1"}})

    hooks.at("/first", slow)
    hooks.at("/second", patching({"op": "add", "path": "/data/second", "value": "1"}))
    hooks.at("/third", deny("a third one"))
    await configure(api, MUTATING, "x", hooks.webhook("/first"), hooks.webhook("/second"))
    creating = asyncio.create_task(api.create(CONFIGMAPS, configmap("x")))
    async with asyncio.timeout(20):
        await arrived.wait()
    found = (await api.get(f"{MUTATING}/x")).body
    found["webhooks"] = [hooks.webhook("/third")]
    assert (await api.update(f"{MUTATING}/x", found)).code == 200
    await settled(api, MUTATING, (await api.get(f"{MUTATING}/x")).version)
    go_on.set()
    made = await creating
    assert made.body["data"] == {"first": "1", "second": "1"}
    assert (await api.create(CONFIGMAPS, configmap("y"))).code == 400


async def test_configurations_may_change_as_fast_as_requests_come(api: Api, hooks: HookServer) -> None:
    """Every request is judged by one whole state of the configuration: by both webhooks of a pair or by none."""
    hooks.at("/a", patching({"op": "add", "path": "/data/a", "value": "1"}))
    hooks.at("/b", patching({"op": "add", "path": "/data/b", "value": "1"}))
    pair = [hooks.webhook("/a"), hooks.webhook("/b")]
    await configure(api, MUTATING, "x", *pair)
    done = asyncio.Event()

    async def flip() -> None:
        number = 0
        while not done.is_set():
            number += 1
            found = await api.patch(f"{MUTATING}/x", {"webhooks": pair if number % 2 else []})
            assert found.code == 200

    async def create(worker: int) -> list[Any]:
        made = [await api.create(CONFIGMAPS, configmap(f"m{worker}-{number}", x="1")) for number in range(15)]
        return [one.body["data"] for one in made]

    flipping = asyncio.create_task(flip())
    async with asyncio.timeout(60):
        found = await asyncio.gather(*(create(worker) for worker in range(4)))
    done.set()
    await flipping
    assert all(set(data) in ({"x"}, {"x", "a", "b"}) for some in found for data in some)


async def test_other_requests_go_on_while_webhooks_hang_and_stopping_does_not_wait_for_them(
    certificates: Certificates, hooks: HookServer
) -> None:
    hooks.at("/x", hanging(60))
    async with asyncio.timeout(30):
        async with serving(MemoryStore(), certificates) as api:
            await configure(api, VALIDATING, "x", hooks.webhook("/x", timeoutSeconds=30))
            stuck = [asyncio.create_task(api.create(CONFIGMAPS, configmap(f"m{n}"))) for n in range(20)]
            while len(hooks.asked) < 20:
                await asyncio.sleep(0.01)
            secrets = CONFIGMAPS.replace("configmaps", "secrets")
            assert (await api.create(secrets, {"metadata": {"name": "s"}})).code == 201
            for one in stuck:
                one.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_nobody_is_asked_about_what_is_only_read(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("no"))
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule))
    assert (await api.get(CONFIGMAPS)).code == 200
    assert (await api.get("/api/v1/namespaces/default")).code == 200
    assert hooks.asked == []
