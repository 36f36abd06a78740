"""What extension servers say about themselves is cut to what is theirs, joined with ours, and never spoils it."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.apiserver import openapi_v2_protobuf
from kontinuum.apiserver.aggregation.specifications import merge_v2, own_part, readable, to_v3

GROUP, VERSION = "wardle.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def kind(name: str) -> list[dict[str, str]]:
    return [{"group": GROUP, "version": VERSION, "kind": name}]


def document() -> dict[str, Any]:
    flunder = {"type": "object", "properties": {"metadata": {"$ref": f"#/definitions/{META}"}}}
    body = {"in": "body", "name": "body", "required": True, "schema": {"$ref": "#/definitions/Flunder"}}
    create = {
        "consumes": ["application/json"],
        "produces": ["application/json", "application/yaml"],
        "parameters": [body, {"$ref": "#/parameters/dryRun"}],
        "responses": {"201": {"description": "Created", "schema": {"$ref": "#/definitions/Flunder"}}},
        "x-kubernetes-action": "post",
    }
    pretty = {"in": "query", "name": "pretty", "type": "string", "uniqueItems": True}
    return {
        "swagger": "2.0",
        "parameters": {"dryRun": {"in": "query", "name": "dryRun", "description": "Try.", "type": "string"}},
        "paths": {
            f"{ROOT}/flunders": {"post": create, "parameters": [pretty]},
            "/apis/other/v1/things": {"get": {"responses": {}}},
            f"{ROOT}2/flunders": {"get": {"responses": {}}},
        },
        "definitions": {
            "Flunder": {**flunder, "x-kubernetes-group-version-kind": kind("Flunder")},
            META: {"type": "object", "description": "theirs"},
            "Unused": {"type": "object"},
        },
    }


def test_only_what_is_the_group_versions_own_or_needed_by_it_is_taken() -> None:
    part = own_part(document(), GROUP, VERSION)
    assert list(part["paths"]) == [f"{ROOT}/flunders"]
    assert set(part["definitions"]) == {"Flunder", META}
    assert part["paths"][f"{ROOT}/flunders"]["post"]["parameters"][1]["name"] == "dryRun"


def test_a_definition_that_we_have_in_another_form_gets_a_name_of_its_own() -> None:
    ours = {"definitions": {META: {"type": "object", "description": "ours"}}, "paths": {"/api/": {}}}
    merge_v2(ours, own_part(document(), GROUP, VERSION))
    assert ours["definitions"][META]["description"] == "ours"
    assert ours["definitions"][f"{META}_v2"]["description"] == "theirs"
    assert ours["definitions"]["Flunder"]["properties"]["metadata"] == {"$ref": f"#/definitions/{META}_v2"}
    assert set(ours["paths"]) == {"/api/", f"{ROOT}/flunders"}


def test_version_3_says_the_same_in_its_own_way() -> None:
    made = to_v3(own_part(document(), GROUP, VERSION))
    item = made["paths"][f"{ROOT}/flunders"]
    schema = {"$ref": "#/components/schemas/Flunder"}
    assert item["parameters"] == [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": True}}]
    assert item["post"]["requestBody"] == {"content": {"application/json": {"schema": schema}}, "required": True}
    assert item["post"]["parameters"] == [
        {"name": "dryRun", "in": "query", "description": "Try.", "schema": {"type": "string"}}
    ]
    answer = item["post"]["responses"]["201"]
    assert answer["description"] == "Created" and set(answer["content"]) == {"application/json", "application/yaml"}
    assert answer["content"]["application/json"]["schema"] == schema
    assert item["post"]["x-kubernetes-action"] == "post" and "consumes" not in item["post"]
    metadata = made["components"]["schemas"]["Flunder"]["properties"]["metadata"]
    assert metadata == {"$ref": f"#/components/schemas/{META}"}


KEYS = st.sampled_from(
    ["paths", "definitions", "parameters", f"{ROOT}/a", "get", "post", "$ref", "responses", "200", "schema", "in",
     "x-kubernetes-group-version-kind", "properties", "items", "type", "consumes", "produces", "A"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["#/definitions/A", "#/parameters/A", "body", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


@given(VALUES)
def test_whatever_a_server_says_the_document_about_all_stays_whole(value: Any) -> None:
    part = readable(orjson.dumps(value), GROUP, VERSION)
    if part is None:
        return
    ours: dict[str, Any] = {
        "swagger": "2.0",
        "info": {"title": "", "version": ""},
        "definitions": {"A": {}},
        "paths": {},
    }
    merge_v2(ours, copy.deepcopy(part))
    assert openapi_v2_protobuf.encode(ours)
    orjson.dumps(to_v3(part))


@given(st.recursive(st.just({}), lambda inner: st.dictionaries(st.sampled_from(["paths", f"{ROOT}/a", "get"]), inner)))
def test_good_documents_are_not_thrown_away(value: Any) -> None:
    assert readable(orjson.dumps({**document(), "x-more": value}), GROUP, VERSION) is not None
