"""Policies judge and change custom resources, and take custom resources as parameters."""

from __future__ import annotations

from typing import Any

from tests.apiserver.custom import PONDS, define, definition, pond, schema, version
from tests.apiserver.policies import DEPLOYMENTS_RULE, expect, mutating, put_in_force, said, validating
from tests.apiserver.serving import DEPLOYMENTS, Api, deployment

from kontinuum.apiserver.admission.policies.typechecking import subject_of, warnings_of

RULE = {
    "apiGroups": ["ponds.example"],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["ponds"],
}
MERGED = {
    "type": "object",
    "properties": {
        "litres": {"type": "integer"},
        "banks": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["side"],
            "items": {"type": "object", "required": ["side"], "properties": {
                "side": {"type": "string"}, "metres": {"type": "integer", "default": 1}}},
        },
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip


async def test_custom_objects_are_judged(api: Api) -> None:
    await define(api, definition())
    await put_in_force(api, validating("p", "object.spec.litres < 10", match=RULE))
    await expect(api, PONDS, pond("a", litres=3), 201)
    assert said(await api.create(PONDS, pond("b", litres=30))) == "failed expression: object.spec.litres < 10"
    assert (await api.patch(f"{PONDS}/a", {"spec": {"litres": 11}})).code == 422


async def test_custom_objects_are_changed_as_their_schema_says(api: Api) -> None:
    await define(api, definition(version(openapi=schema(MERGED))))
    add = "Object{spec: Object.spec{banks: [Object.spec.banks{side: 'east'}], litres: 5}}"
    await put_in_force(api, mutating("p", add, match=RULE))
    made = await expect(api, PONDS, pond("a", banks=[{"side": "west", "metres": 2}]), 201)
    assert made.body["spec"] == {"banks": [{"side": "west", "metres": 2}, {"side": "east", "metres": 1}], "litres": 5}
    unknown = '[JSONPatch{op: "add", path: "/spec/unknown", value: 1}]'
    await put_in_force(api, mutating("q", unknown, match=RULE))
    # What the schema does not know is dropped, whoever has written it.
    assert "unknown" not in (await expect(api, PONDS, pond("b"), 201)).body["spec"]
    await put_in_force(api, mutating("r", "Object{spec: Object.spec{tags: ['a']}}", match=RULE))
    assert said(await api.create(PONDS, pond("c"))) == (
        "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.tags"
    )


async def test_a_change_that_the_schema_forbids_is_refused_as_the_clients_own(api: Api) -> None:
    await define(api, definition())
    await put_in_force(api, mutating("p", '[JSONPatch{op: "replace", path: "/spec/litres", value: -1}]', match=RULE))
    answer = await api.create(PONDS, pond("a", litres=1))
    assert answer.code == 422
    assert "spec.litres" in answer.body["message"] and "greater than or equal to 0" in answer.body["message"]


async def test_custom_objects_are_parameters(api: Api) -> None:
    kind = {"apiVersion": "ponds.example/v1", "kind": "Pond"}
    policy = validating("p", "object.spec.replicas <= params.spec.litres", match=DEPLOYMENTS_RULE, paramKind=kind)
    reference = {"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}}
    await put_in_force(api, policy, reference)
    # The kind is not there yet; when it is, the policy need not be touched.
    assert said(await api.create(DEPLOYMENTS, deployment("a"))) == (
        "failed to configure policy: failed to find resource referenced by paramKind: 'ponds.example/v1, Kind=Pond'"
    )
    await define(api, definition())
    assert "no params found" in said(await api.create(DEPLOYMENTS, deployment("a")))
    await expect(api, PONDS, pond("limit", litres=2), 201)
    await expect(api, DEPLOYMENTS, deployment("a", 2), 201)
    assert said(await api.create(DEPLOYMENTS, deployment("b", 3))).startswith("failed expression")


async def test_expressions_are_checked_against_the_schema(api: Api) -> None:
    await define(api, definition())

    def warnings(*rules: str) -> list[dict[str, Any]]:
        spec = validating("p", *rules, match=RULE)["spec"]
        return warnings_of(spec, subject_of(spec, api.server._context.catalog))

    assert warnings("object.spec.litres > 1 && object.metadata.labels['a'] == 'b'", "object.metadata.uid != ''") == []
    (found,) = warnings("object.spec.litres == 'a'")
    assert "ponds.example/v1, Kind=Pond" in found["warning"] and "'(int, string)'" in found["warning"]
