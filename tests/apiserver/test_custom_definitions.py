"""CustomResourceDefinitions as objects: lists, watches, status, discovery, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.custom import (
    DEFINITIONS,
    PONDS,
    causes,
    define,
    definition,
    good,
    pond,
    schema,
    until_condition,
    until_gone,
    version,
)
from tests.apiserver.serving import TABLE, Api

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CONDITION = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}


@pytest.mark.behaviour(
    "CustomResourceDefinition resources Simple CustomResourceDefinition "
    "listing custom resource definition objects works"
)
async def test_definitions_are_listed_and_deleted_by_label(api: Api) -> None:
    await define(api, definition(kind="Other"))
    for number in range(10):
        body = definition(kind=f"Pond{number}x", metadata={"labels": {"of": "test"}})
        good(await api.create(DEFINITIONS, body), 201)
    listed = good(await api.get(f"{DEFINITIONS}?labelSelector=of%3Dtest"))
    assert len(listed["items"]) == 10
    good(await api.delete(f"{DEFINITIONS}?labelSelector=of%3Dtest"))
    for one in listed["items"]:
        await until_gone(api, f"{DEFINITIONS}/{one['metadata']['name']}")
    rest = good(await api.get(DEFINITIONS))["items"]
    assert [one["metadata"]["name"] for one in rest] == ["others.ponds.example"]


@pytest.mark.behaviour(
    "CustomResourceDefinition Watch CustomResourceDefinition Watch watch on custom resource definition objects"
)
async def test_a_watch_of_definitions_and_one_of_objects_see_every_change(api: Api) -> None:
    since = good(await api.get(DEFINITIONS))["metadata"]["resourceVersion"]
    async with api.watch(DEFINITIONS, f"resourceVersion={since}") as watch:
        await define(api, definition())
        assert await watch.take(1) == [("ADDED", "ponds.ponds.example")]
        since = good(await api.get(PONDS))["metadata"]["resourceVersion"]
        async with api.watch(PONDS, f"resourceVersion={since}") as ponds:
            good(await api.create(PONDS, pond("a", litres=1)), 201)
            good(await api.patch(f"{PONDS}/a", {"spec": {"litres": 2}}))
            good(await api.delete(f"{PONDS}/a"))
            assert await ponds.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
        types = []
        while not types or types[-1] != "DELETED":
            types.append((await watch.next())["type"])
        assert set(types[:-1]) == {"MODIFIED"}


@pytest.mark.behaviour(
    "CustomResourceDefinition resources Simple CustomResourceDefinition "
    "getting/updating/patching custom resource definition status sub-resource works"
)
async def test_the_status_of_a_definition_is_read_updated_and_patched(api: Api) -> None:
    await define(api, definition())
    path = f"{DEFINITIONS}/ponds.ponds.example/status"
    read = good(await api.get(path))
    assert read["kind"] == "CustomResourceDefinition"
    read["status"]["conditions"].append(CONDITION | {"lastTransitionTime": "2026-01-01T00:00:00Z"})
    updated = good(await api.update(path, read))
    assert "StatusUpdate" in {one["type"] for one in updated["status"]["conditions"]}
    changed = [one | ({"status": "False"} if one["type"] == "StatusUpdate" else {}) for one in
               updated["status"]["conditions"]]  # fmt: skip
    good(await api.patch(path, {"status": {"conditions": changed}}))
    found = good(await api.get(f"{DEFINITIONS}/ponds.ponds.example"))["status"]["conditions"]
    assert {one["type"]: one["status"] for one in found} == {
        "NamesAccepted": "True", "Established": "True", "StatusUpdate": "False",
    }  # fmt: skip


@pytest.mark.behaviour(
    "CustomResourceDefinition resources should include custom resource definition resources in discovery documents"
)
async def test_definitions_are_in_every_discovery_document(api: Api) -> None:
    group = next(one for one in good(await api.get("/apis"))["groups"] if one["name"] == "apiextensions.k8s.io")
    assert {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"} in group["versions"]
    assert group["versions"] == good(await api.get("/apis/apiextensions.k8s.io"))["versions"]
    listed = good(await api.get("/apis/apiextensions.k8s.io/v1"))["resources"]
    assert "customresourcedefinitions" in [one["name"] for one in listed]


@pytest.mark.behaviour("AggregatedDiscovery should support raw aggregated discovery request for CRDs")
async def test_a_defined_resource_is_in_aggregated_discovery(api: Api) -> None:
    versions = [version("v1alpha1", storage=False), version("v1"), version("v2", storage=False, served=False)]
    await define(api, definition(*versions, names={"shortNames": ["pd"], "categories": ["all"]}))
    answer = await api.get("/apis", accept=AGGREGATED)
    assert answer.headers["Content-Type"] == AGGREGATED
    group = next(one for one in good(answer)["items"] if one["metadata"]["name"] == "ponds.example")
    assert [one["version"] for one in group["versions"]] == ["v1", "v1alpha1"]
    (resource,) = group["versions"][0]["resources"]
    assert resource == {
        "resource": "ponds", "responseKind": {"group": "", "version": "", "kind": "Pond"},
        "scope": "Namespaced", "singularResource": "pond", "shortNames": ["pd"], "categories": ["all"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    }  # fmt: skip


async def test_groups_of_the_kubernetes_project_need_an_approval(api: Api) -> None:
    name = "metadata.annotations[api-approved.kubernetes.io]"
    body = definition(group="ponds.k8s.io")
    ((field, message),) = causes(await api.create(DEFINITIONS, body))
    assert field == name and message.startswith("Required value: protected groups must have approval annotation")
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, experimental-only"}
    await define(api, body)
    found = await until_condition(api, "ponds.ponds.k8s.io", "KubernetesAPIApprovalPolicyConformant", "False")
    condition = found["status"]["conditions"][-1]
    assert condition["reason"] == "UnapprovedAnnotation"
    approved = {"metadata": {"annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/x/pull/1"}}}
    good(await api.patch(f"{DEFINITIONS}/ponds.ponds.k8s.io", approved))
    found = await until_condition(api, "ponds.ponds.k8s.io", "KubernetesAPIApprovalPolicyConformant", "True")
    assert found["status"]["conditions"][-1]["reason"] == "ApprovedAnnotation"


SCHEMA = "spec.versions[0].schema.openAPIV3Schema"
UNREADABLE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
WRONG: list[tuple[Any, str, str]] = [
    ({"group": "ponds"}, "spec.group", 'Invalid value: "ponds": should be a domain with at least one dot'),
    ({"scope": "All"}, "spec.scope", 'Unsupported value: "All": supported values: "Cluster", "Namespaced"'),
    ({"names": {"plural": "Ponds", "kind": "Pond"}}, "spec.names.plural", "a DNS-1035 label must consist of"),
    ({"names": {"plural": "ponds", "kind": "Pond", "listKind": "Pond"}}, "spec.names.listKind",
     'Invalid value: "Pond": kind and listKind may not be the same'),
    ({"versions": [version(), version()]}, "spec.versions", "must contain unique version names"),
    ({"versions": [version("v1"), version("v2")]}, "spec.versions",
     "must have exactly one version marked as storage version"),
    ({"versions": [version(schema=None)]}, SCHEMA, "Required value: schemas are required"),
    ({"versions": [version(openapi={"properties": {"spec": {}}})]}, f"{SCHEMA}.type",
     "Required value: must not be empty at the root"),
    ({"versions": [version(openapi=schema(UNREADABLE))]}, f"{SCHEMA}.properties[spec].properties[a].pattern",
     "must be a valid regular expression"),
    ({"versions": [version(openapi=schema({"type": "object", "default": {"a": 1}}))]},
     f"{SCHEMA}.properties[spec].default", "must not have unknown fields"),
    ({"versions": [version(additionalPrinterColumns=[{"name": "x", "type": "text", "jsonPath": ".spec"}])]},
     "spec.versions[0].additionalPrinterColumns[0].type", "must be one of boolean,date,integer,number,string"),
    ({"versions": [version(selectableFields=[{"jsonPath": ".spec"}])]}, "spec.versions[0].selectableFields[0].jsonPath",
     "must point to a field of type string, boolean or integer"),
    ({"versions": [version(subresources={"scale": {"specReplicasPath": "n", "statusReplicasPath": ".status.n"}})]},
     "spec.versions[0].subresources.scale.specReplicasPath", "must be a simple json path starting with ."),
    ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.webhook.clientConfig", "required when strategy is"),
    ({"preserveUnknownFields": True}, "spec.preserveUnknownFields", "cannot set to true"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "message"), WRONG)
async def test_what_is_wrong_with_a_definition_is_said_where_it_is(
    api: Api, spec: dict[str, Any], field: str, message: str
) -> None:
    body = definition()
    body["spec"] |= spec
    body["metadata"]["name"] = f"{body['spec']['names']['plural']}.{body['spec']['group']}"
    refused = await api.create(DEFINITIONS, body)
    assert any(where == field and message in text for where, text in causes(refused)), causes(refused)


async def test_what_a_definition_is_about_cannot_be_changed(api: Api) -> None:
    await define(api, definition())
    for patch, field in (
        ({"spec": {"scope": "Cluster"}}, "spec.scope"),
        ({"spec": {"names": {"kind": "Pool"}}}, "spec.names.kind"),
        ({"spec": {"group": "pools.example"}}, "spec.group"),
    ):
        refused = await api.patch(f"{DEFINITIONS}/ponds.ponds.example", patch)
        assert any(where == field and "field is immutable" in text for where, text in causes(refused)), causes(refused)


async def test_definitions_are_shown_with_their_time(api: Api) -> None:
    made = await define(api, definition())
    table = good(await api.get(DEFINITIONS, accept=TABLE))
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Created At"]
    assert table["rows"][0]["cells"] == ["ponds.ponds.example", made["metadata"]["creationTimestamp"]]
