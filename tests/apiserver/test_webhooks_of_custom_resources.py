"""Webhooks see custom resources and their definitions as they see everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.custom import DEFINITIONS, PONDS, define, definition, good, pond, redefine, schema, version
from tests.apiserver.hooks import (
    MUTATING,
    VALIDATING,
    HookServer,
    allow,
    configure,
    deny,
    hook_server,
    patched,
    patching,
)
from tests.apiserver.serving import Answer, Api
from tests.apiserver.test_custom_conversion import V2, answering, port, ports, split_and_join

NAME = "ponds.ponds.example"
RULE = {"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": ["ponds.example"], "apiVersions": ["*"],
        "resources": ["ponds"]}  # fmt: skip
DATA = {"data": {"type": "object", "properties": {"start": {"type": "string"}, "stage1": {"type": "string"}}}}
IN_V2 = PONDS.replace("/v1/", "/v2/")


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[HookServer]:
    async with hook_server(tmp_path) as hooks:
        yield hooks


def stage(number: int, after: str) -> Any:
    def answer(review: Any) -> Any:
        if after not in (review["request"]["object"].get("data") or {}):
            return allow(review)
        return patched(review, {"op": "add", "path": f"/data/stage{number}", "value": "yes"})

    return answer


def with_data(name: str = "x", api_version: str = "ponds.example/v1") -> dict[str, Any]:
    return {**pond(name, api_version), "data": {"start": "yes"}}


def of_properties(**properties: Any) -> dict[str, Any]:
    whole = schema()
    return {**whole, "properties": {**whole["properties"], **properties}}


def open_version(name: str = "v1", **more: Any) -> dict[str, Any]:
    data = {"data": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return version(name, openapi=of_properties(**data), **more)


@pytest.mark.behaviour("AdmissionWebhook should mutate custom resource")
async def test_a_custom_object_is_changed_by_one_webhook_after_the_other(api: Api, hooks: HookServer) -> None:
    await define(api, definition(open_version()))
    hooks.at("/first", stage(1, "start"))
    hooks.at("/second", stage(2, "stage1"))
    await configure(api, MUTATING, "x", hooks.webhook("/first", RULE), hooks.webhook("/second", RULE))
    made = good(await api.create(PONDS, with_data()), 201)
    assert made["data"] == {"start": "yes", "stage1": "yes", "stage2": "yes"}
    assert good(await api.get(f"{PONDS}/x"))["data"] == made["data"]
    assert hooks.asked[0].request["kind"] == {"group": "ponds.example", "version": "v1", "kind": "Pond"}


@pytest.mark.behaviour("AdmissionWebhook should mutate custom resource with pruning")
async def test_what_the_schema_does_not_know_is_pruned_from_what_webhooks_add(api: Api, hooks: HookServer) -> None:
    await define(api, definition(version(openapi=of_properties(**DATA))))
    hooks.at("/first", stage(1, "start"))
    hooks.at("/second", stage(2, "stage1"))
    await configure(api, MUTATING, "x", hooks.webhook("/first", RULE), hooks.webhook("/second", RULE))
    assert good(await api.create(PONDS, with_data()), 201)["data"] == {"start": "yes", "stage1": "yes"}
    assert good(await api.get(f"{PONDS}/x"))["data"] == {"start": "yes", "stage1": "yes"}


async def test_what_webhooks_add_is_completed_and_held_against_the_schema(api: Api, hooks: HookServer) -> None:
    inner = {"type": "object", "properties": {"deep": {"type": "integer", "default": 3, "maximum": 9}}}
    await define(api, definition(version(openapi=of_properties(water=inner))))
    hooks.at("/x", patching({"op": "add", "path": "/water", "value": {}}))
    await configure(api, MUTATING, "x", hooks.webhook("/x", RULE))
    assert good(await api.create(PONDS, pond("x")), 201)["water"] == {"deep": 3}
    hooks.at("/x", patching({"op": "add", "path": "/water", "value": {"deep": 10}}))
    refused = await api.create(PONDS, pond("y"))
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert refused.body["details"]["causes"][0]["field"] == "water.deep"


@pytest.mark.behaviour("AdmissionWebhook should mutate custom resource with different stored version")
async def test_webhooks_go_on_while_another_version_is_stored(api: Api, hooks: HookServer) -> None:
    await define(api, definition(open_version("v1"), open_version("v2", storage=False)))
    hooks.at("/x", stage(1, "start"))
    await configure(api, MUTATING, "x", hooks.webhook("/x", {**RULE, "apiVersions": ["v1"]}))
    good(await api.create(PONDS, pond("x")), 201)
    versions = [open_version("v1", storage=False), open_version("v2")]
    await redefine(api, NAME, {"spec": {"versions": versions}})
    found = good(await api.patch(f"{PONDS}/x", {"data": {"start": "yes", "dummy": "test"}}))
    assert found["data"] == {"start": "yes", "dummy": "test", "stage1": "yes"}
    # Whoever writes in the other version passes the webhook too, which sees the version that it asks for.
    made = good(await api.create(IN_V2, with_data("y", "ponds.example/v2")), 201)
    assert made["data"] == {"start": "yes", "stage1": "yes"}
    last = hooks.asked[-1].request
    assert (last["kind"]["version"], last["requestKind"]["version"]) == ("v1", "v2")
    assert last["object"]["apiVersion"] == "ponds.example/v1"


@pytest.mark.behaviour("AdmissionWebhook should be able to deny custom resource creation, update and deletion")
async def test_custom_objects_can_be_kept_from_beginning_changing_and_ending(api: Api, hooks: HookServer) -> None:
    def answer(review: Any) -> Any:
        request = review["request"]
        obj = request["object"] or request["oldObject"]
        unwanted = (obj.get("data") or {}).get("webhook-e2e-test")
        operations = {"disallow": ("CREATE", "UPDATE"), "keep": ("DELETE",)}
        if request["operation"] in operations.get(unwanted, ()):
            return deny("the custom resource contains unwanted data")(review)
        return allow(review)

    await define(api, definition(open_version()))
    hooks.at("/x", answer)
    await configure(api, VALIDATING, "x", hooks.webhook("/x", RULE))
    said = 'admission webhook "x.example.com" denied the request: the custom resource contains unwanted data'

    def refused(found: Answer) -> None:
        assert (found.code, found.body["message"]) == (400, said)

    bad = {"data": {"webhook-e2e-test": "disallow"}}
    refused(await api.create(PONDS, {**pond("bad"), **bad}))
    good(await api.create(PONDS, {**pond("kept"), "data": {"webhook-e2e-test": "keep"}}), 201)
    refused(await api.patch(f"{PONDS}/kept", bad))
    refused(await api.update(f"{PONDS}/kept", {**good(await api.get(f"{PONDS}/kept")), **bad}))
    refused(await api.delete(f"{PONDS}/kept"))
    good(await api.patch(f"{PONDS}/kept", {"data": {"webhook-e2e-test": "go"}}))
    good(await api.delete(f"{PONDS}/kept"))


@pytest.mark.behaviour("AdmissionWebhook should deny crd creation")
async def test_a_definition_can_be_refused(api: Api, hooks: HookServer) -> None:
    hooks.at("/x", deny("the crd contains unwanted label"))
    rule = {"operations": ["CREATE"], "apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"],
            "resources": ["customresourcedefinitions"]}  # fmt: skip
    selector = {"matchLabels": {"webhook-e2e-test": "webhook-disallow"}}
    await configure(api, VALIDATING, "x", hooks.webhook("/x", rule, objectSelector=selector))
    body = definition(version())
    body["metadata"]["labels"] = {"webhook-e2e-test": "webhook-disallow"}
    found = await api.create(DEFINITIONS, body)
    assert found.code == 400
    assert found.body["message"] == (
        'admission webhook "x.example.com" denied the request: the crd contains unwanted label'
    )
    assert (await api.get(f"{DEFINITIONS}/{NAME}")).code == 404
    del body["metadata"]["labels"]
    good(await api.create(DEFINITIONS, body), 201)


async def test_a_custom_objects_scale_and_status_are_judged_by_their_own_rules(api: Api, hooks: HookServer) -> None:
    parts = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}
    number = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    await define(api, definition(version(openapi=of_properties(spec=number, status=number), subresources=parts)))
    good(await api.create(PONDS, pond("x", replicas=1)), 201)
    hooks.at("/x", deny("no"))
    for part, body in (("status", {"status": {"replicas": 2}}), ("scale", {"spec": {"replicas": 2}})):
        rule = {**RULE, "resources": [f"ponds/{part}"]}
        await configure(api, VALIDATING, part, hooks.webhook("/x", rule))
        assert (await api.patch(f"{PONDS}/x/{part}", body)).code == 400
    assert good(await api.patch(f"{PONDS}/x", {"spec": {"replicas": 3}}))["spec"]["replicas"] == 3
    assert [one.request["kind"]["kind"] for one in hooks.asked] == ["Pond", "Scale"]


async def test_a_webhook_changes_an_object_in_the_version_that_a_conversion_webhook_makes_for_it(
    api: Api, hooks: HookServer
) -> None:
    """Asked for v1, where a port is one word; written and stored as v2, where it is two."""
    hooks.at("/convert", answering(split_and_join))
    await define(api, ports(hooks, storage="v2"))
    hooks.at("/x", patching({"op": "replace", "path": "/hostPort", "value": "other.example:9"}))
    rule = {**RULE, "resources": ["ports"], "apiVersions": ["v1"]}
    await configure(api, MUTATING, "x", hooks.webhook("/x", rule))
    hooks.at("/judge", allow)
    await configure(api, VALIDATING, "x", hooks.webhook("/judge", {**rule, "apiVersions": ["v2"]}))
    made = good(await api.create(V2, port("a", "example.org", 80, "v2")), 201)
    assert (made["host"], made["port"]) == ("other.example", "9")
    [asked] = hooks.asked_at("/x")
    assert asked.request["object"]["hostPort"] == "example.org:80"
    assert asked.request["object"]["apiVersion"] == "ponds.example/v1"
    [judged] = hooks.asked_at("/judge")
    assert judged.request["object"]["host"] == "other.example"
    hooks.answers.pop("/convert")
    failed = await api.create(V2, port("b", "example.org", 80, "v2"))
    assert failed.code == 500
    assert "conversion webhook for ponds.example/v2, Kind=Port failed: " in failed.body["message"]
