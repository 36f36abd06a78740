"""Validating webhooks judge what is about to be stored, and their words and selectors are Kubernetes'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.hooks import (
    CONFIGMAPS_RULE,
    EVERYTHING,
    MUTATING,
    VALIDATING,
    Answer,
    HookServer,
    allow,
    configure,
    deny,
    hanging,
    hook_server,
    patching,
    reviewed,
    settled,
)
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, deployment, pod
from tests.apiserver.serving import Answer as Reply

MARKED = "webhook-e2e-test"
NAMESPACES = "/api/v1/namespaces"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"]}


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path) as hooks:
        yield hooks


def refused(reply: Reply, code: int, message: str) -> None:
    assert (reply.code, reply.body.get("message")) == (code, message)


def unless_compliant(key: str, field: str) -> Answer:
    """Refuses objects whose data or labels have the key."""

    def answer(review: Any) -> Any:
        obj = review["request"]["object"]
        holder = obj["metadata"].get("labels") if field == "labels" else obj.get("data")
        return deny(f"the {review['request']['kind']['kind']} contains unwanted key")(review) if (
            key in (holder or {})
        ) else allow(review)  # fmt: skip

    return answer


@pytest.mark.behaviour("AdmissionWebhook should be able to deny pod and configmap creation")
async def test_what_does_not_comply_is_neither_created_nor_made_of_what_does(api: Api, hooks: HookServer) -> None:
    hooks.at("/pods", unless_compliant(MARKED, "labels"))
    hooks.at("/maps", unless_compliant(MARKED, "data"))
    hooks.at("/hang", hanging(60))
    selector = {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
    only_hanging = {"matchLabels": {"hang": "yes"}}
    await configure(
        api, VALIDATING, "x",
        hooks.webhook("/pods", {**RULE, "resources": ["pods"]}),
        hooks.webhook("/maps", {**RULE, "resources": ["configmaps"]}, namespaceSelector=selector),
        hooks.webhook("/hang", {**RULE, "resources": ["pods"]}, objectSelector=only_hanging, timeoutSeconds=1),
    )  # fmt: skip
    bad_pod = pod("bad")
    bad_pod["metadata"]["labels"][MARKED] = "yes"
    said = 'admission webhook "{}.example.com" denied the request: the {} contains unwanted key'
    refused(await api.create(PODS, bad_pod), 400, said.format("pods", "Pod"))
    stuck = pod("stuck")
    stuck["metadata"]["labels"]["hang"] = "yes"
    late = await api.create(PODS, stuck)
    url = hooks.client_config("/hang")["url"]
    refused(late, 500, (
        'Internal error occurred: failed calling webhook "hang.example.com": failed to call webhook: '
        f'Post "{url}?timeout=1s": context deadline exceeded'
    ))  # fmt: skip
    assert (await api.get(f"{PODS}/stuck")).code == 404
    of_maps = said.format("maps", "ConfigMap")
    refused(await api.create(CONFIGMAPS, configmap("bad", **{MARKED: "x"})), 400, of_maps)
    good = (await api.create(CONFIGMAPS, configmap("good"))).body
    refused(await api.update(f"{CONFIGMAPS}/good", {**good, "data": {MARKED: "x"}}), 400, of_maps)
    refused(await api.patch(f"{CONFIGMAPS}/good", {"data": {MARKED: "x"}}), 400, of_maps)
    await api.create(NAMESPACES, {"metadata": {"name": "skipped", "labels": {"skip": "yes"}}})
    allowed = await api.create(CONFIGMAPS.replace("default", "skipped"), configmap("bad", **{MARKED: "x"}))
    assert allowed.code == 201


@pytest.mark.parametrize(
    ("status", "code", "reason", "text"),
    [
        ({}, 400, None, " without explanation"),
        ({"reason": "Because"}, 400, "Because", ": Because"),
        ({"message": "no", "code": 403, "reason": "Forbidden"}, 403, "Forbidden", ": no"),
        ({"message": "no", "code": 200}, 400, None, ": no"),
        ({"message": "no", "code": 99999}, 500, None, ": no"),
        ({"message": "späte\nZeile", "code": 418, "status": "Success"}, 418, None, ": späte\nZeile"),
    ],
)
async def test_a_refusal_is_told_in_the_webhooks_words(
    api: Api, hooks: HookServer, status: Any, code: int, reason: str | None, text: str
) -> None:
    hooks.at("/x", deny(**status))
    await configure(api, VALIDATING, "x", hooks.webhook("/x"))
    found = await api.create(CONFIGMAPS, configmap("x"))
    refused(found, code, f'admission webhook "x.example.com" denied the request{text}')
    assert (found.body["status"], found.body["code"], found.body.get("reason")) == ("Failure", code, reason)


async def test_a_refusals_details_and_warnings_are_passed_on(api: Api, hooks: HookServer) -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "too big", "field": "data"}]
    details = {"name": "x", "causes": causes, "retryAfterSeconds": 3, "unknown": 1}
    status = {"message": "no", "details": details, "code": 429}
    hooks.at("/x", lambda review: reviewed(review, allowed=False, status=status, warnings=["think again"]))
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    found = await api.create(CONFIGMAPS, configmap("x"))
    assert found.body["details"] == {"name": "x", "causes": causes, "retryAfterSeconds": 3}
    assert found.headers["Retry-After"] == "3"
    assert found.headers["Warning"] == '299 - "think again"'


async def test_all_are_asked_together_and_the_first_of_those_that_refuse_is_quoted(api: Api, hooks: HookServer) -> None:
    all_here = asyncio.Barrier(3)

    def together(then: Answer) -> Answer:
        async def answer(review: Any) -> Any:
            await all_here.wait()
            return then(review)

        return answer

    for path, then in (("/a", allow), ("/b", deny("b says no")), ("/c", deny("c says no"))):
        hooks.at(path, together(then))
    await configure(api, VALIDATING, "x", *(hooks.webhook(path) for path in ("/a", "/b", "/c")))
    async with asyncio.timeout(20):
        found = await api.create(CONFIGMAPS, configmap("x"))
    refused(found, 400, 'admission webhook "b.example.com" denied the request: b says no')


async def test_what_mutating_webhooks_have_made_is_what_validating_ones_judge(api: Api, hooks: HookServer) -> None:
    hooks.at("/change", patching({"op": "add", "path": "/data", "value": {MARKED: "1"}}))
    hooks.at("/judge", unless_compliant(MARKED, "data"))
    await configure(api, MUTATING, "x", hooks.webhook("/change"))
    await configure(api, VALIDATING, "x", hooks.webhook("/judge"))
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 400
    assert [one.path.partition("?")[0] for one in hooks.asked] == ["/change", "/judge"]
    assert hooks.asked[1].request["object"]["data"] == {MARKED: "1"}


@pytest.mark.behaviour("AdmissionWebhook patching/updating a validating webhook should work")
async def test_a_changed_configuration_holds_from_then_on(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("no"))
    await configure(api, VALIDATING, "x", hooks.webhook("/x"))
    found = (await api.get(f"{VALIDATING}/x")).body
    found["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    await settled(api, VALIDATING, (await api.update(f"{VALIDATING}/x", found)).version)
    assert (await api.create(CONFIGMAPS, configmap("a"))).code == 201
    operations = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
    await settled(api, VALIDATING, (await api.patch(f"{VALIDATING}/x", operations, "json")).version)
    assert (await api.create(CONFIGMAPS, configmap("b"))).code == 400


@pytest.mark.behaviour("AdmissionWebhook listing validating webhooks should work")
async def test_configurations_end_together_and_with_them_their_effect(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("no"))
    for number in range(10):
        body = {"metadata": {"name": f"x{number}", "labels": {"a": "b"}}, "webhooks": [hooks.webhook("/x")]}
        made = await api.create(VALIDATING, body)
    await settled(api, VALIDATING, made.version)
    listed = await api.get(f"{VALIDATING}?labelSelector=a%3Db")
    assert [one["metadata"]["name"] for one in listed.body["items"]] == [f"x{number}" for number in range(10)]
    assert (await api.create(CONFIGMAPS, configmap("a"))).code == 400
    assert (await api.delete(f"{VALIDATING}?labelSelector=a%3Db")).code == 200
    assert (await api.get(f"{VALIDATING}?labelSelector=a%3Db")).body["items"] == []
    assert (await api.create(CONFIGMAPS, configmap("a"))).code == 201


@pytest.mark.behaviour(
    "AdmissionWebhook should not be able to mutate or prevent deletion of webhook configuration objects"
)
async def test_configurations_themselves_are_nobodys_business(api: Api, hooks: HookServer) -> None:
    hooks.at("/no", deny("never"))
    hooks.at("/label", patching({"op": "add", "path": "/metadata/labels", "value": {"changed": "yes"}}))
    everything = {**EVERYTHING, "scope": "*"}
    only_these = {**everything, "apiGroups": ["admissionregistration.k8s.io"]}
    for path, hook in ((VALIDATING, "/no"), (MUTATING, "/label")):
        await configure(api, path, "all", hooks.webhook(hook, only_these))
    for path in (VALIDATING, MUTATING):
        body = {"metadata": {"name": "dummy"}, "webhooks": [hooks.webhook("/no", {**RULE, "resources": ["secrets"]})]}
        made = await api.create(path, body)
        assert made.code == 201
        assert "labels" not in made.body["metadata"]
        assert (await api.patch(f"{path}/dummy", {"metadata": {"annotations": {"a": "b"}}})).code == 200
        assert (await api.delete(f"{path}/dummy")).code == 200
    assert hooks.asked == []
    await configure(api, VALIDATING, "whatever", hooks.webhook("/no", everything))
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 400
    assert (await api.delete(f"{VALIDATING}/whatever")).code == 200


def conditions(*expressions: str) -> list[dict[str, str]]:
    return [{"name": f"c{index}", "expression": one} for index, one in enumerate(expressions)]


@pytest.mark.behaviour(
    "AdmissionWebhook should be able to create and update mutating webhook configurations with match conditions"
)
@pytest.mark.behaviour(
    "AdmissionWebhook should be able to create and update validating webhook configurations with match conditions"
)
@pytest.mark.parametrize("path", [MUTATING, VALIDATING])
async def test_match_conditions_are_kept_as_they_are_given(api: Api, hooks: HookServer, path: str) -> None:
    first = conditions("object.metadata.name != 'a'", "request.operation == 'CREATE'")
    await configure(api, path, "x", hooks.webhook("/x", matchConditions=first))
    found = (await api.get(f"{path}/x")).body
    assert found["webhooks"][0]["matchConditions"] == first
    second = conditions("!('authorizer' in ['x']) && authorizer.path('/healthz').check('get').allowed()")
    found["webhooks"][0]["matchConditions"] = second
    assert (await api.update(f"{path}/x", found)).code == 200
    assert (await api.get(f"{path}/x")).body["webhooks"][0]["matchConditions"] == second


@pytest.mark.behaviour("AdmissionWebhook should reject mutating webhook configurations with invalid match conditions")
@pytest.mark.behaviour("AdmissionWebhook should reject validating webhook configurations with invalid match conditions")
@pytest.mark.parametrize("path", [MUTATING, VALIDATING])
async def test_match_conditions_that_do_not_compile_are_refused(api: Api, hooks: HookServer, path: str) -> None:
    bad = hooks.webhook("/x", matchConditions=conditions("... [] bad expression"))
    found = await api.create(path, {"metadata": {"name": "x"}, "webhooks": [bad]})
    assert (found.code, found.body["reason"]) == (422, "Invalid")
    assert "compilation failed" in found.body["message"]
    [cause] = found.body["details"]["causes"]
    assert cause["field"] == "webhooks[0].matchConditions[0].expression"
    assert (await api.get(f"{path}/x")).code == 404


async def test_a_condition_that_fails_is_a_refusal_unless_failures_are_ignored_or_another_one_is_false(
    api: Api, hooks: HookServer
) -> None:
    hooks.at("/x", allow)
    failing = "object.data.missing == 'x'"

    async def outcome(name: str, policy: str, *expressions: str) -> tuple[int, int]:
        webhook = hooks.webhook("/x", matchConditions=conditions(*expressions), failurePolicy=policy)
        await configure(api, VALIDATING, name, webhook)
        before = len(hooks.asked)
        found = await api.create(f"{CONFIGMAPS}?dryRun=All", configmap("x", a="1"))
        await api.delete(f"{VALIDATING}/{name}")
        await settled(api, VALIDATING, "0")
        return found.code, len(hooks.asked) - before

    assert await outcome("a", "Fail", failing) == (403, 0)
    assert await outcome("b", "Ignore", failing) == (201, 0)
    assert await outcome("c", "Fail", failing, "false") == (201, 0)
    assert await outcome("d", "Fail", "true", "request.name == 'x'") == (201, 1)
    webhook = hooks.webhook("/x", matchConditions=conditions(failing, failing))
    await configure(api, VALIDATING, "words", webhook)
    one = f"expression '{failing}' resulted in error: no such key: missing"
    refused(await api.create(CONFIGMAPS, configmap("x", a="1")), 403,
            f'configmaps "x" is forbidden: [{one}, {one}]')  # fmt: skip


async def test_conditions_may_ask_what_the_requester_may_do(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("asked"))
    breaks_glass = "!authorizer.group('').resource('configmaps').namespace('default').check('break').allowed()"
    await configure(api, VALIDATING, "x", hooks.webhook("/x", matchConditions=conditions(breaks_glass)))
    # The administrator may do everything, so is never asked about.
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 201


async def test_objects_are_chosen_by_their_labels_before_or_after(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", allow)
    rule = {**CONFIGMAPS_RULE, "operations": ["*"]}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule, objectSelector={"matchLabels": {"on": "yes"}}))
    await api.create(CONFIGMAPS, configmap("x"))
    assert len(hooks.asked) == 0
    await api.patch(f"{CONFIGMAPS}/x", {"metadata": {"labels": {"on": "yes"}}})
    assert len(hooks.asked) == 1
    await api.patch(f"{CONFIGMAPS}/x", {"metadata": {"labels": {"on": None}}})
    assert len(hooks.asked) == 2
    await api.delete(f"{CONFIGMAPS}/x")
    assert len(hooks.asked) == 2


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({"resources": ["*"]}, ["deployments"]),
        ({"resources": ["*/*"]}, ["deployments", "deployments/status", "deployments/scale"]),
        ({"resources": ["deployments/*"]}, ["deployments", "deployments/status", "deployments/scale"]),
        ({"resources": ["*/status"]}, ["deployments/status"]),
        ({"resources": ["deployments/scale"], "operations": ["UPDATE"]}, ["deployments/scale"]),
        ({"resources": ["*/*"], "apiGroups": ["batch"]}, []),
        ({"resources": ["*/*"], "scope": "Cluster"}, []),
        ({"resources": ["*/*"], "scope": "Namespaced", "operations": ["CREATE"]}, ["deployments"]),
        ({"resources": ["*/*"], "apiVersions": ["v1beta1"]}, []),
    ],
)
async def test_rules_say_which_requests_are_meant(
    api: Api, hooks: HookServer, rule: dict[str, Any], asked: list[str]
) -> None:
    hooks.at("/x", allow)
    await configure(api, VALIDATING, "x", hooks.webhook("/x", {**EVERYTHING, "apiGroups": ["apps"], **rule}))
    await api.create(DEPLOYMENTS, deployment("x"))
    await api.patch(f"{DEPLOYMENTS}/x/status", {"status": {"replicas": 1}})
    await api.patch(f"{DEPLOYMENTS}/x/scale", {"spec": {"replicas": 2}})
    requests = [one.request for one in hooks.asked]
    assert [
        "/".join([one["resource"]["resource"], *([one["subResource"]] if "subResource" in one else [])])
        for one in requests
    ] == asked


async def test_a_namespace_is_judged_by_its_own_labels(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("no"))
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"]}
    selector = {"matchLabels": {"watched": "yes"}}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", {**rule, "scope": "Cluster"}, namespaceSelector=selector))
    assert (await api.create(NAMESPACES, {"metadata": {"name": "free"}})).code == 201
    watched = {"metadata": {"name": "held", "labels": {"watched": "yes"}}}
    assert (await api.create(NAMESPACES, watched)).code == 400
    assert hooks.asked[0].request["namespace"] == "held"
    assert (await api.patch(f"{NAMESPACES}/free", watched | {"metadata": {"labels": {"watched": "yes"}}})).code == 400


async def test_what_is_stored_under_several_versions_is_recognised_in_each(api: Api, hooks: HookServer) -> None:
    rule = {"operations": ["*"], "apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "resources": ["events"]}
    hooks.at("/x", allow)
    hooks.at("/exact", allow)
    exact = hooks.webhook("/exact", rule, matchPolicy="Exact")
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule), exact)
    event = {
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"},
        "reason": "Tested", "message": "m", "type": "Normal", "source": {"component": "c"},
    }  # fmt: skip
    made = await api.create("/api/v1/namespaces/default/events", event)
    assert made.code == 201, made.body
    [asked] = hooks.asked
    assert asked.request["kind"] == {"group": "events.k8s.io", "version": "v1", "kind": "Event"}
    assert asked.request["requestKind"] == {"group": "", "version": "v1", "kind": "Event"}
    assert asked.request["object"]["apiVersion"] == "events.k8s.io/v1"
    assert asked.request["object"]["note"] == "m"


async def test_an_eviction_and_a_binding_are_judged_too(api: Api, hooks: HookServer) -> None:
    await api.create(PODS, pod("x"))
    hooks.at("/x", deny("no"))
    parts = ["pods/eviction", "pods/binding"]
    rule = {"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": parts}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule))
    said = 'admission webhook "x.example.com" denied the request: no'
    refused(await api.create(f"{PODS}/x/eviction", {"metadata": {"name": "x"}}), 400, said)
    target = {"kind": "Node", "name": "n"}
    refused(await api.create(f"{PODS}/x/binding", {"metadata": {"name": "x"}, "target": target}), 400, said)
    assert [one.request["kind"]["kind"] for one in hooks.asked] == ["Eviction", "Binding"]


@pytest.mark.behaviour("AdmissionWebhook should be able to deny attaching pod")
async def test_a_stream_into_a_pod_can_be_refused(api: Api, hooks: HookServer) -> None:
    await api.create(PODS, pod("x"))
    hooks.at("/x", deny("attaching to pod 'x' is not allowed"))
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/attach"]}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule))
    said = "admission webhook \"x.example.com\" denied the request: attaching to pod 'x' is not allowed"
    path = f"{PODS}/x/attach?stdin=true&container=main"
    refused(await api.create(path, None), 400, said)
    websocket = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec_websocket_protocol": "v5.channel.k8s.io",
    }
    refused(await api.get(path, **websocket), 400, said)
    asked, _ = hooks.asked
    assert asked.request["operation"] == "CONNECT"
    options = {"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True, "container": "main"}
    assert asked.request["object"] == options
    assert asked.request["oldObject"] is None
    assert asked.request["name"] == "x"


@pytest.mark.behaviour("AdmissionWebhook should honor timeout")
async def test_a_late_answer_is_a_failure_and_failures_may_be_ignored(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", hanging(1.5))
    for number, (fields, code) in enumerate((
        ({"timeoutSeconds": 1, "failurePolicy": "Fail"}, 500),
        ({"timeoutSeconds": 1, "failurePolicy": "Ignore"}, 201),
        ({"timeoutSeconds": 10, "failurePolicy": "Fail"}, 201),
        ({"failurePolicy": "Fail"}, 201),
    )):  # fmt: skip
        await configure(api, VALIDATING, f"x{number}", hooks.webhook("/x", **fields))
        found = await api.create(CONFIGMAPS, configmap(f"m{number}"))
        assert found.code == code
        if code == 500:
            assert "context deadline exceeded" in found.body["message"]
        gone = await api.delete(f"{VALIDATING}/x{number}")
        assert gone.code == 200
        assert (await api.get(f"{VALIDATING}/x{number}")).code == 404


@pytest.mark.behaviour("AdmissionWebhook should unconditionally reject operations on fail closed webhook")
async def test_a_webhook_that_cannot_be_trusted_stops_everything_it_should_see(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", allow)
    await api.create(NAMESPACES, {"metadata": {"name": "closed", "labels": {"closed": "yes"}}})
    webhook = hooks.webhook("/x", failurePolicy="Fail", namespaceSelector={"matchLabels": {"closed": "yes"}})
    del webhook["clientConfig"]["caBundle"]
    await configure(api, VALIDATING, "x", webhook)
    found = await api.create(CONFIGMAPS.replace("default", "closed"), configmap("x"))
    assert (found.code, found.body["reason"]) == (500, "InternalError")
    assert "x509: certificate signed by unknown authority" in found.body["message"]
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 201
