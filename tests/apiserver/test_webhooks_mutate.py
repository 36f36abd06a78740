"""Mutating webhooks change objects: in order, once more if need be, and the result is held to the kind's rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.hooks import (
    CONFIGMAPS_RULE,
    MUTATING,
    Answer,
    HookServer,
    allow,
    configure,
    hook_server,
    patched,
    patching,
    reviewed,
    settled,
)
from tests.apiserver.serving import CONFIGMAPS, DEPLOYMENTS, PODS, Api, configmap, deployment, pod

PODS_RULE = {**CONFIGMAPS_RULE, "resources": ["pods"]}


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path) as hooks:
        yield hooks


def adding(key: str, when: str) -> Answer:
    """Adds ``data.key`` to ConfigMaps that have ``data.when``."""

    def answer(review: Any) -> Any:
        data = review["request"]["object"].get("data") or {}
        if when not in data:
            return allow(review)
        return patched(review, {"op": "add", "path": f"/data/{key}", "value": "yes"})

    return answer


@pytest.mark.behaviour("AdmissionWebhook should mutate configmap")
async def test_each_webhook_sees_what_those_before_it_have_changed(api: Api, hooks: HookServer) -> None:
    hooks.at("/first", adding("stage-1", when="start"))
    hooks.at("/second", adding("stage-2", when="stage-1"))
    await configure(api, MUTATING, "stages", hooks.webhook("/first"), hooks.webhook("/second"))
    made = await api.create(CONFIGMAPS, configmap("x", start="yes"))
    assert made.body["data"] == {"start": "yes", "stage-1": "yes", "stage-2": "yes"}
    assert (await api.get(f"{CONFIGMAPS}/x")).body["data"] == made.body["data"]


async def test_configurations_are_asked_in_the_order_of_their_names(api: Api, hooks: HookServer) -> None:
    for name in ("b", "a", "c"):
        hooks.at(f"/{name}", allow)
        await configure(api, MUTATING, name, hooks.webhook(f"/{name}"))
    await api.create(CONFIGMAPS, configmap("x"))
    assert [one.path for one in hooks.asked] == ["/a?timeout=10s", "/b?timeout=10s", "/c?timeout=10s"]


async def test_a_webhook_is_told_who_asks_for_what(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", allow)
    rule = {**CONFIGMAPS_RULE, "operations": ["*"]}
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    assert (await api.create(f"{CONFIGMAPS}?fieldManager=me&dryRun=All", configmap("x", a="1"))).code == 201
    await api.create(CONFIGMAPS, configmap("x", a="1"))
    await api.patch(f"{CONFIGMAPS}/x", {"data": {"a": "2"}})
    await api.delete(f"{CONFIGMAPS}/x", {"propagationPolicy": "Orphan", "kind": "DeleteOptions", "apiVersion": "v1"})
    dry, create, update, delete = (one.request for one in hooks.asked)
    gvk = {"group": "", "version": "v1", "kind": "ConfigMap"}
    gvr = {"group": "", "version": "v1", "resource": "configmaps"}
    assert {key: dry[key] for key in dry if key not in ("uid", "object", "userInfo")} == {
        "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr, "name": "x", "namespace": "default",
        "operation": "CREATE", "dryRun": True, "oldObject": None,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"},
    }  # fmt: skip
    assert dry["userInfo"]["username"] == "kubernetes-admin"
    assert dry["userInfo"]["groups"] == ["system:masters", "system:authenticated"]
    assert hooks.asked[0].body["apiVersion"] == "admission.k8s.io/v1"
    assert create["object"]["data"] == {"a": "1"}
    assert create["object"]["kind"] == "ConfigMap"
    assert not create["dryRun"]
    assert update["operation"] == "UPDATE"
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    # Whatever the request was: a patch, too, is asked about as the update that it comes to.
    assert update["options"]["kind"] == "UpdateOptions"
    assert delete["operation"] == "DELETE"
    assert (delete["object"], delete["oldObject"]["data"]) == (None, {"a": "2"})
    assert delete["options"]["propagationPolicy"] == "Orphan"
    assert len({one["uid"] for one in (dry, create, update, delete)}) == 4


async def test_a_webhook_may_ask_for_the_older_review(api: Api, hooks: HookServer) -> None:
    def answer(review: Any) -> Any:
        found = patched(review, {"op": "add", "path": "/data", "value": {"a": "1"}})
        # v1beta1 does not hold answers to these.
        del found["response"]["uid"], found["response"]["patchType"], found["kind"], found["apiVersion"]
        return found

    hooks.at("/x", answer)
    await configure(api, MUTATING, "x", hooks.webhook("/x", admissionReviewVersions=["v7", "v1beta1", "v1"]))
    assert (await api.create(CONFIGMAPS, configmap("x"))).body["data"] == {"a": "1"}
    assert hooks.asked[0].body["apiVersion"] == "admission.k8s.io/v1beta1"


@pytest.mark.behaviour("AdmissionWebhook should mutate pod and apply defaults after mutation")
async def test_what_a_webhook_adds_gets_the_defaults_of_its_kind(api: Api, hooks: HookServer) -> None:
    container = {"name": "webhook-added", "image": "localhost/x:1", "resources": {}}
    hooks.at("/x", patching({"op": "add", "path": "/spec/initContainers", "value": [container]}))
    await configure(api, MUTATING, "x", hooks.webhook("/x", PODS_RULE))
    made = await api.create(PODS, pod("x"))
    [added] = made.body["spec"]["initContainers"]
    assert added["terminationMessagePolicy"] == "File"
    assert added["imagePullPolicy"] == "IfNotPresent"
    # The plug-ins before the webhook have seen the new container as well.
    assert [one["mountPath"] for one in added["volumeMounts"]] == ["/var/run/secrets/kubernetes.io/serviceaccount"]


async def test_what_a_webhook_changes_is_pruned_and_checked_as_any_object(api: Api, hooks: HookServer) -> None:
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    hooks.at("/x", patching({"op": "add", "path": "/unknown", "value": 1}, {"op": "add", "path": "/data", "value": {}}))
    made = await api.create(CONFIGMAPS, configmap("a"))
    assert made.code == 201
    assert "unknown" not in made.body
    hooks.at("/x", patching({"op": "add", "path": "/data", "value": {"not valid!": "1"}}))
    made = await api.create(CONFIGMAPS, configmap("b"))
    assert (made.code, made.body["reason"]) == (422, "Invalid")
    assert made.body["details"]["causes"][0]["field"] == "data[not valid!]"
    for operations, words in (
        ([{"op": "add", "path": "/data", "value": "text"}], "cannot unmarshal string"),
        ([{"op": "remove", "path": "/nothing"}], "unable to remove nonexistent key: nothing: missing value"),
        ([{"op": "replace", "path": "", "value": []}], "the patch leaves no object"),
        ([{"op": "replace", "path": "/kind", "value": "Secret"}], "the patch changes kind from ConfigMap to Secret"),
        ([{"op": "remove", "path": "/metadata"}], "name or generateName is required"),
    ):
        hooks.at("/x", patching(*operations))
        made = await api.create(CONFIGMAPS, configmap("c"))
        assert made.code in (422, 500), made.body
        assert words in made.body["message"]
    assert (await api.get(f"{CONFIGMAPS}/c")).code == 404


async def test_a_new_objects_name_may_be_the_webhooks_doing_but_no_other_namespace(api: Api, hooks: HookServer) -> None:
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    hooks.at("/x", patching({"op": "replace", "path": "/metadata/name", "value": "other"}))
    assert (await api.create(CONFIGMAPS, configmap("x"))).body["metadata"]["name"] == "other"
    assert (await api.create(CONFIGMAPS, configmap("x"))).body["reason"] == "AlreadyExists"
    hooks.at("/x", patching({"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}))
    refused = await api.create(CONFIGMAPS, configmap("x"))
    assert refused.code == 400
    assert "the namespace of the provided object does not match the namespace sent on the request" in (
        refused.body["message"]
    )  # fmt: skip


async def test_a_name_is_generated_after_webhooks_have_seen_the_object(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", allow)
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    body = {"metadata": {"generateName": "x-"}}
    made = await api.create(CONFIGMAPS, body)
    assert made.body["metadata"]["name"].startswith("x-")
    assert "name" not in hooks.asked[0].request
    assert "name" not in hooks.asked[0].request["object"]["metadata"]
    hooks.at("/x", patching({"op": "add", "path": "/metadata/name", "value": "chosen"}))
    assert (await api.create(CONFIGMAPS, body)).body["metadata"]["name"] == "chosen"


async def test_on_update_a_webhook_cannot_do_what_a_client_cannot(api: Api, hooks: HookServer) -> None:
    rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    made = await api.create(DEPLOYMENTS, deployment("x"))
    hooks.at("/x", patching(
        {"op": "replace", "path": "/spec/replicas", "value": 5},
        {"op": "add", "path": "/status", "value": {"replicas": 7}},
        {"op": "replace", "path": "/metadata/uid", "value": "mine"},
    ))  # fmt: skip
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    found = await api.patch(f"{DEPLOYMENTS}/x", {"metadata": {"labels": {"a": "b"}}})
    assert found.body["spec"]["replicas"] == 5
    assert found.body["metadata"]["generation"] == 2
    assert found.body["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert "replicas" not in found.body.get("status", {})
    hooks.at("/x", patching({"op": "replace", "path": "/metadata/name", "value": "y"}))
    assert (await api.patch(f"{DEPLOYMENTS}/x", {"metadata": {"labels": {"a": "c"}}})).code == 400
    hooks.at("/x", patching({"op": "replace", "path": "/spec/selector/matchLabels/app", "value": "y"}))
    assert (await api.patch(f"{DEPLOYMENTS}/x", {"metadata": {"labels": {"a": "c"}}})).code == 422


async def test_a_scale_can_be_changed_on_its_way(api: Api, hooks: HookServer) -> None:
    await api.create(DEPLOYMENTS, deployment("x"))
    rule = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    hooks.at("/x", patching({"op": "replace", "path": "/spec/replicas", "value": 3}))
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    assert (await api.patch(f"{DEPLOYMENTS}/x/scale", {"spec": {"replicas": 9}})).body["spec"]["replicas"] == 3
    [asked] = hooks.asked
    assert asked.request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert asked.request["subResource"] == asked.request["requestSubResource"] == "scale"
    assert asked.request["object"]["spec"] == {"replicas": 9}
    hooks.at("/x", patching({"op": "replace", "path": "/spec/replicas", "value": "many"}))
    assert (await api.patch(f"{DEPLOYMENTS}/x/scale", {"spec": {"replicas": 9}})).code == 500


async def test_spoilt_owners_are_put_back_with_a_warning(api: Api, hooks: HookServer) -> None:
    broken = [{"manager": "x", "operation": "Guess", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]
    hooks.at("/x", patching({"op": "replace", "path": "/metadata/managedFields", "value": broken}))
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    made = await api.create(CONFIGMAPS, configmap("x", a="1"))
    assert [one["operation"] for one in made.body["metadata"]["managedFields"]] == ["Update"]
    assert ".metadata.managedFields was in an invalid state after admission" in made.headers["Warning"]


async def asked_with(api: Api, hooks: HookServer, *policies: str) -> list[str]:
    """Who is asked, in order, of webhooks /0, /1 ... with these reinvocation policies; the last one changes things."""
    last = len(policies) - 1
    webhooks = []
    for index, policy in enumerate(policies):
        path = f"/{index}"
        once = adding("changed", when="start") if index == last else allow
        hooks.at(path, once)
        webhooks.append(hooks.webhook(path, reinvocationPolicy=policy))
    await configure(api, MUTATING, "x", *webhooks)
    assert (await api.create(CONFIGMAPS, configmap("x", start="1"))).code == 201
    return [one.path[1] for one in hooks.asked]


@pytest.mark.parametrize(
    ("policies", "asked"),
    [
        (("Never", "Never"), "01"),
        (("IfNeeded", "Never"), "010"),
        # The last one has seen its own change; only those before it have not.
        (("IfNeeded", "IfNeeded"), "010"),
        (("IfNeeded", "Never", "IfNeeded", "Never"), "012302"),
    ],
)
async def test_those_who_want_to_know_of_later_changes_are_asked_again(
    api: Api, hooks: HookServer, policies: tuple[str, ...], asked: str
) -> None:
    assert "".join(await asked_with(api, hooks, *policies)) == asked


async def test_nobody_is_asked_a_third_time(api: Api, hooks: HookServer) -> None:
    def grow(review: Any) -> Any:
        number = len(hooks.asked)
        return patched(review, {"op": "add", "path": "/data", "value": {f"n{number}": "1"}})

    hooks.at("/0", grow)
    hooks.at("/1", grow)
    both = [hooks.webhook(f"/{index}", reinvocationPolicy="IfNeeded") for index in (0, 1)]
    await configure(api, MUTATING, "x", *both)
    assert (await api.create(CONFIGMAPS, configmap("x"))).code == 201
    assert [one.path[1] for one in hooks.asked] == ["0", "1", "0", "1"]


@pytest.mark.behaviour("AdmissionWebhook should mutate everything except 'skip-me' configmaps")
async def test_match_conditions_leave_objects_out_by_name(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", adding("changed", when="start"))
    condition = {"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}
    await configure(api, MUTATING, "x", hooks.webhook("/x", matchConditions=[condition]))
    assert (await api.create(CONFIGMAPS, configmap("skip-me", start="1"))).body["data"] == {"start": "1"}
    found = await api.create(CONFIGMAPS, configmap("other", start="1"))
    assert found.body["data"] == {"start": "1", "changed": "yes"}


@pytest.mark.behaviour("AdmissionWebhook patching/updating a mutating webhook should work")
async def test_a_changed_configuration_holds_from_then_on(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", adding("changed", when="start"))
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    found = (await api.get(f"{MUTATING}/x")).body
    found["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    await settled(api, MUTATING, (await api.update(f"{MUTATING}/x", found)).version)
    assert (await api.create(CONFIGMAPS, configmap("a", start="1"))).body["data"] == {"start": "1"}
    operations = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
    await settled(api, MUTATING, (await api.patch(f"{MUTATING}/x", operations, "json")).version)
    found = (await api.create(CONFIGMAPS, configmap("b", start="1"))).body
    assert found["data"] == {"start": "1", "changed": "yes"}


@pytest.mark.behaviour("AdmissionWebhook listing mutating webhooks should work")
async def test_configurations_end_together_and_with_them_their_effect(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", adding("changed", when="start"))
    for number in range(10):
        body = {"metadata": {"name": f"x{number}", "labels": {"a": "b"}}, "webhooks": [hooks.webhook("/x")]}
        made = await api.create(MUTATING, body)
    await settled(api, MUTATING, made.version)
    listed = await api.get(f"{MUTATING}?labelSelector=a%3Db")
    assert [one["metadata"]["name"] for one in listed.body["items"]] == [f"x{number}" for number in range(10)]
    assert "changed" in (await api.create(CONFIGMAPS, configmap("a", start="1"))).body["data"]
    assert (await api.delete(f"{MUTATING}?labelSelector=a%3Db")).code == 200
    left = await api.get(f"{MUTATING}?labelSelector=a%3Db")
    assert left.body["items"] == []
    assert "changed" not in (await api.create(CONFIGMAPS, configmap("b", start="1"))).body["data"]


async def test_a_webhook_that_wants_another_version_gets_and_changes_that(api: Api, hooks: HookServer) -> None:
    autoscalers = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    rule = {"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v2"],
            "resources": ["horizontalpodautoscalers"]}  # fmt: skip
    hooks.at("/x", patching({"op": "replace", "path": "/spec/metrics/0/resource/target/averageUtilization",
                             "value": 33}))  # fmt: skip
    hooks.at("/exact", allow)
    exact = hooks.webhook("/exact", rule, matchPolicy="Exact")
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule, matchPolicy="Equivalent"), exact)
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50}  # fmt: skip
    made = await api.create(autoscalers, {"metadata": {"name": "x"}, "spec": spec})
    assert made.body["spec"]["targetCPUUtilizationPercentage"] == 33
    [asked] = hooks.asked
    assert asked.request["kind"]["version"] == asked.request["resource"]["version"] == "v2"
    assert asked.request["requestKind"]["version"] == asked.request["requestResource"]["version"] == "v1"
    assert asked.request["object"]["apiVersion"] == "autoscaling/v2"


async def test_warnings_reach_the_client_once_each_and_on_one_line(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", lambda review: reviewed(review, warnings=['say "no"', "two\r\nlines", 'say "no"', ""]))
    await configure(api, MUTATING, "x", hooks.webhook("/x"))
    made = await api.create(CONFIGMAPS, configmap("x"))
    assert made.headers.getall("Warning") == ['299 - "say \\"no\\""', '299 - "two  lines"']
    hooks.at("/x", lambda review: reviewed(review, warnings=["ä" * 5000, "b" * 200, "c" * 5000]))
    made = await api.create(CONFIGMAPS, configmap("y"))
    assert [len(one) for one in made.headers.getall("Warning")] == [264, 208, 264]


async def test_an_object_that_is_only_deleted_cannot_be_changed(api: Api, hooks: HookServer) -> None:
    await api.create(CONFIGMAPS, configmap("x"))
    hooks.at("/x", patching({"op": "add", "path": "/data", "value": {}}))
    await configure(api, MUTATING, "x", hooks.webhook("/x", {**CONFIGMAPS_RULE, "operations": ["DELETE"]}))
    refused = await api.delete(f"{CONFIGMAPS}/x")
    assert (refused.code, refused.body["reason"]) == (500, "InternalError")
    words = (
        'admission webhook "x.example.com" attempted to modify the object, which is not supported for this operation'
    )
    assert words in refused.body["message"]


async def test_a_pod_goes_where_a_webhook_sends_it(api: Api, hooks: HookServer) -> None:
    rule = {**CONFIGMAPS_RULE, "resources": ["pods/binding"]}
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    await api.create(PODS, pod("a"))
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
    hooks.at("/x", patching({"op": "remove", "path": "/target/name"}))
    assert (await api.create(f"{PODS}/a/binding", binding)).code == 422
    labels = {"op": "add", "path": "/metadata/labels", "value": {"sent": "by webhook"}}
    hooks.at("/x", patching({"op": "replace", "path": "/target/name", "value": "n2"}, labels))
    assert (await api.create(f"{PODS}/a/binding", binding)).code == 201
    found = (await api.get(f"{PODS}/a")).body
    assert found["spec"]["nodeName"] == "n2"
    assert found["metadata"]["labels"] == {"app": "a", "sent": "by webhook"}


async def test_an_eviction_is_carried_out_as_a_webhook_has_changed_it(api: Api, hooks: HookServer) -> None:
    rule = {**CONFIGMAPS_RULE, "apiGroups": ["*"], "resources": ["pods/eviction"]}
    hooks.at("/x", patching({"op": "add", "path": "/deleteOptions", "value": {"gracePeriodSeconds": 7}}))
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    await api.create(PODS, pod("a", nodeName="n1"))
    assert (await api.create(f"{PODS}/a/eviction", {"metadata": {"name": "a"}})).code == 201
    assert (await api.get(f"{PODS}/a")).body["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_the_difference_to_what_go_types_write_is_no_change(api: Api, hooks: HookServer) -> None:
    """Webhooks made with controller-runtime answer what their types write where the object has nothing."""
    hooks.at("/first", allow)
    hooks.at("/second", patching(
        {"op": "add", "path": "/spec/template/metadata/creationTimestamp", "value": None},
        {"op": "add", "path": "/spec/template/spec/containers/0/resources", "value": {}},
        {"op": "add", "path": "/status", "value": {}},
    ))  # fmt: skip
    rule = {**CONFIGMAPS_RULE, "apiGroups": ["apps"], "resources": ["deployments"]}
    first = hooks.webhook("/first", rule, reinvocationPolicy="IfNeeded")
    await configure(api, MUTATING, "x", first, hooks.webhook("/second", rule))
    assert (await api.create(DEPLOYMENTS, deployment("x"))).code == 201
    assert [one.path.partition("?")[0] for one in hooks.asked] == ["/first", "/second"]
    assert hooks.asked[0].request["object"]["status"] == {}
