"""Custom resources are in the OpenAPI documents the moment they are served, and out of them when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.apiserver.custom import DEFINITIONS, define, definition, good, redefine, schema, until_gone, version
from tests.apiserver.serving import Api

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
RICH = {
    "description": "What a pond is.",
    "type": "object",
    "required": ["litres", "owner"],
    "properties": {
        "litres": {"type": "integer", "default": 3, "minimum": 0},
        "owner": {"type": "string", "nullable": True},
        "share": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "inner": {
            "type": "object", "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object"}},
        },
    },
    "oneOf": [{"required": ["litres"]}],
}  # fmt: skip


async def v2(api: Api) -> dict[str, Any]:
    return dict(good(await api.get("/openapi/v2"))["definitions"])


async def v3(api: Api, group_version: str) -> dict[str, Any] | None:
    """The schemas of a group version, found as clients find them."""
    paths = good(await api.get("/openapi/v3"))["paths"]
    found = paths.get(f"apis/{group_version}")
    return None if found is None else dict(good(await api.get(found["serverRelativeURL"]))["components"]["schemas"])


async def published(api: Api, group_version: str, name: str) -> bool:
    """Whether both documents have a definition."""
    schemas = await v3(api, group_version)
    in_v3, in_v2 = schemas is not None and name in schemas, name in await v2(api)
    assert in_v3 == in_v2
    return in_v3


@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for multiple CRDs of different groups")
@pytest.mark.behaviour("CustomResourcePublishOpenAPI works for multiple CRDs of same group but different versions")
@pytest.mark.behaviour(
    "CustomResourcePublishOpenAPI works for multiple CRDs of same group and version but different kinds"
)
async def test_definitions_of_other_groups_versions_and_kinds_are_published_side_by_side(api: Api) -> None:
    await define(api, definition(version("v1"), version("v2", storage=False)))
    await define(api, definition(kind="Pool"))
    await define(api, definition(group="lakes.example", kind="Lake"))
    for group_version, name in (
        ("ponds.example/v1", "example.ponds.v1.Pond"), ("ponds.example/v2", "example.ponds.v2.Pond"),
        ("ponds.example/v1", "example.ponds.v1.Pool"), ("lakes.example/v1", "example.lakes.v1.LakeList"),
    ):  # fmt: skip
        assert await published(api, group_version, name), name
    assert not await published(api, "ponds.example/v2", "example.ponds.v2.Pool")


@pytest.mark.behaviour("CustomResourcePublishOpenAPI updates the published spec when one version gets renamed")
async def test_a_version_that_is_renamed_is_published_under_its_new_name(api: Api) -> None:
    await define(api, definition(version("v1"), version("v2", storage=False)))
    assert await published(api, "ponds.example/v2", "example.ponds.v2.Pond")
    rename = [{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]
    await redefine(api, "ponds.ponds.example", rename, "json")
    assert not await published(api, "ponds.example/v2", "example.ponds.v2.Pond")
    assert await published(api, "ponds.example/v4", "example.ponds.v4.Pond")
    assert await published(api, "ponds.example/v1", "example.ponds.v1.Pond")


@pytest.mark.behaviour(
    "CustomResourcePublishOpenAPI removes definition from spec when one version gets changed to not be served"
)
async def test_a_version_that_is_no_longer_served_is_not_published(api: Api) -> None:
    await define(api, definition(version("v1"), version("v2", storage=False)))
    assert await published(api, "ponds.example/v2", "example.ponds.v2.Pond")
    hide = [{"op": "replace", "path": "/spec/versions/1/served", "value": False}]
    await redefine(api, "ponds.ponds.example", hide, "json")
    assert not await published(api, "ponds.example/v2", "example.ponds.v2.Pond")
    assert await published(api, "ponds.example/v1", "example.ponds.v1.Pond")
    good(await api.delete(f"{DEFINITIONS}/ponds.ponds.example"))
    await until_gone(api, f"{DEFINITIONS}/ponds.ponds.example")
    assert not await published(api, "ponds.example/v1", "example.ponds.v1.Pond")


async def test_every_reference_leads_to_a_definition(api: Api) -> None:
    paths = {"specReplicasPath": ".spec.litres", "statusReplicasPath": ".status.litres"}
    served = version(openapi=schema(RICH), subresources={"status": {}, "scale": paths})
    await define(api, definition(served, names={"listKind": "Waters"}))
    whole = good(await api.get("/openapi/v3/apis/ponds.example/v1"))
    known = {f"#/components/schemas/{name}" for name in whole["components"]["schemas"]}
    used = set(references(whole))
    assert used <= known, used - known
    assert "#/components/schemas/example.ponds.v1.Waters" in used
    old = good(await api.get("/openapi/v2"))
    assert set(references(old)) <= {f"#/definitions/{name}" for name in old["definitions"]}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


async def test_the_index_names_another_document_when_a_schema_changes(api: Api) -> None:
    async def place() -> str:
        paths = good(await api.get("/openapi/v3"))["paths"]
        return str(paths["apis/ponds.example/v1"]["serverRelativeURL"])

    await define(api, definition())
    before = await place()
    change = {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "Another."}
    await redefine(api, "ponds.ponds.example", [change], "json")
    assert await place() != before
    assert ((await v3(api, "ponds.example/v1")) or {})["example.ponds.v1.Pond"]["description"] == "Another."


async def test_version_3_says_what_the_schema_says_and_version_2_what_it_can(api: Api) -> None:
    await define(api, definition(version(openapi=schema(RICH))))
    whole = ((await v3(api, "ponds.example/v1")) or {})["example.ponds.v1.Pond"]
    spec = whole["properties"]["spec"]
    assert spec["oneOf"] == RICH["oneOf"] and spec["properties"]["litres"]["default"] == 3
    assert spec["properties"]["owner"] == {"type": "string", "nullable": True}
    assert whole["properties"]["metadata"]["allOf"] == [{"$ref": f"#/components/schemas/{META}"}]
    assert set(spec["properties"]["inner"]["properties"]) == {"spec", "apiVersion", "kind", "metadata"}
    gvk = {"group": "ponds.example", "version": "v1", "kind": "Pond"}
    assert whole["x-kubernetes-group-version-kind"] == [gvk]

    simple = (await v2(api))["example.ponds.v1.Pond"]
    spec = simple["properties"]["spec"]
    assert "oneOf" not in spec and spec["required"] == ["litres"], "what may be null need not be there"
    assert spec["properties"]["litres"] == {"type": "integer", "minimum": 0}
    assert spec["properties"]["owner"] == {}
    assert spec["properties"]["share"] == {"x-kubernetes-int-or-string": True}
    assert spec["properties"]["any"] == {"x-kubernetes-preserve-unknown-fields": True}, (
        "kubectl would refuse null in it"
    )
    assert simple["properties"]["metadata"]["$ref"] == f"#/definitions/{META}"


async def test_a_root_that_keeps_everything_is_any_object_in_version_2(api: Api) -> None:
    keeping = {"type": "object", "description": "Any pond.", "x-kubernetes-preserve-unknown-fields": True}
    await define(api, definition(version(openapi=keeping | {"properties": {"spec": {"type": "object"}}})))
    simple = (await v2(api))["example.ponds.v1.Pond"]
    assert simple.keys() == {"type", "x-kubernetes-group-version-kind"} and simple["type"] == "object"
    whole = ((await v3(api, "ponds.example/v1")) or {})["example.ponds.v1.Pond"]
    assert whole.keys() >= keeping.keys() and whole["properties"].keys() >= {"spec", "metadata"}


async def test_paths_of_custom_resources_are_documented_with_their_subresources(api: Api) -> None:
    await define(api, definition(version(subresources={"status": {}})))
    paths = good(await api.get("/openapi/v3/apis/ponds.example/v1"))["paths"]
    one = "/apis/ponds.example/v1/namespaces/{namespace}/ponds/{name}"
    assert set(paths) >= {
        "/apis/ponds.example/v1/ponds", one.removesuffix("/{name}"), one, f"{one}/status",
    }  # fmt: skip
    assert "fieldValidation" in [each["name"] for each in paths[one]["patch"]["parameters"]]


async def test_a_document_is_kept_for_good_under_its_hash_and_moves_when_it_changes(api: Api) -> None:
    await define(api, definition())
    paths = good(await api.get("/openapi/v3"))["paths"]
    for group in ("api/v1", "apis", "apis/ponds.example/v1"):
        where = paths[group]["serverRelativeURL"]
        kept = await api.get(where)
        assert kept.code == 200 and kept.headers["Cache-Control"] == "public, immutable" and "Expires" in kept.headers
        plain = await api.get(f"/openapi/v3/{group}")
        assert plain.code == 200 and plain.headers["Cache-Control"] == "no-cache, private"
        assert plain.headers["Etag"] == kept.headers["Etag"]
        async with api.session.get(f"{api.address}/openapi/v3/{group}?hash=OLD", allow_redirects=False) as moved:
            assert (moved.status, moved.headers["Location"]) == (301, where)
    other = definition(version(openapi=schema(RICH)))
    await redefine(api, other["metadata"]["name"], {"spec": {"versions": other["spec"]["versions"]}})
    async with api.session.get(api.address + where, allow_redirects=False) as moved:
        assert moved.status == 301 and moved.headers["Location"] != where
    assert (await api.get("/openapi/v3/apis/none.example/v1?hash=OLD")).code == 404
