"""``fieldValidation`` of custom objects: unknown fields, fields given twice, metadata at the root and embedded."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.custom import OPEN, PONDS, define, definition, good, pond, schema, version
from tests.apiserver.serving import Api

TEMPLATE = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {"spec": {"type": "object", "properties": {"depth": {"type": "integer"}}}},
}
WITH_TEMPLATE = schema({"type": "object", "properties": {"litres": {"type": "integer"}, "template": TEMPLATE}})
TWICE = b"""{
  "apiVersion": "ponds.example/v1", "kind": "Pond", "metadata": {"name": "twice"},
  "spec": {"litres": 1, "litres": 2, "any": {"thing": 1, "thing": 2}}
}"""
TWICE_IN_YAML = """
apiVersion: ponds.example/v1
kind: Pond
metadata: {name: twice}
spec:
  litres: 1
  litres: 2
"""


def with_unknown_metadata() -> dict[str, Any]:
    template = {
        "apiVersion": "v1", "kind": "Any", "metadata": {"name": "inner", "unknownSubMeta": 1}, "spec": {"depth": 1},
    }  # fmt: skip
    body = pond("meta", template=template)
    body["metadata"]["unknownMeta"] = 1
    return body


@pytest.mark.behaviour(
    "FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR"
)
async def test_unknown_metadata_is_found_at_the_root_and_in_embedded_objects(api: Api) -> None:
    await define(api, definition(version(openapi=WITH_TEMPLATE)))
    refused = await api.create(f"{PONDS}?fieldValidation=Strict", with_unknown_metadata())
    assert refused.code == 400
    wanted = ("metadata.unknownMeta", "spec.template.metadata.unknownSubMeta")
    assert refused.body["message"] == (
        'Pond in version "v1" cannot be handled as a Pond: strict decoding error: '
        + ", ".join(f'unknown field "{one}"' for one in wanted)
    )
    warned = await api.create(f"{PONDS}?fieldValidation=Warn", with_unknown_metadata())
    assert warned.headers.getall("Warning") == [f'299 - "unknown field \\"{one}\\""' for one in wanted]
    assert "unknownMeta" not in good(warned, 201)["metadata"]
    assert warned.body["spec"]["template"]["metadata"] == {"name": "inner"}
    applied = await api.patch(f"{PONDS}/meta?fieldManager=me&fieldValidation=Strict", with_unknown_metadata(), "apply")
    assert applied.code == 400 and "unknownMeta" in applied.body["message"]


@pytest.mark.behaviour("FieldValidation should detect duplicates in a CR when preserving unknown fields")
async def test_fields_given_twice_are_found_where_unknown_ones_are_kept(api: Api) -> None:
    await define(api, definition(version(openapi={"type": "object", "x-kubernetes-preserve-unknown-fields": True})))
    refused = await api.create(f"{PONDS}?fieldValidation=Strict", TWICE)
    assert refused.code == 400
    for field in ("spec.litres", "spec.any.thing"):
        assert f'duplicate field "{field}"' in refused.body["message"]
    in_yaml = await api.call(
        "PATCH", f"{PONDS}/twice?fieldManager=me&fieldValidation=Strict", TWICE_IN_YAML.encode(),
        content_type="application/apply-patch+yaml",
    )  # fmt: skip
    assert in_yaml.code == 400 and 'key "litres" already set in map' in in_yaml.body["message"]
    posted = await api.call(
        "POST", f"{PONDS}?fieldValidation=Strict", TWICE_IN_YAML.encode(), content_type="application/yaml"
    )
    assert posted.code == 400 and "strict decoding error: yaml: unmarshal errors" in posted.body["message"]
    assert 'key "litres" already set in map' in posted.body["message"]
    warned = await api.create(PONDS, TWICE)
    assert len(warned.headers.getall("Warning")) == 2
    assert good(warned, 201)["spec"] == {"litres": 2, "any": {"thing": 2}}
    ignored = await api.create(f"{PONDS}?fieldValidation=Ignore&dryRun=All", TWICE.replace(b"twice", b"other"))
    assert ignored.code == 201 and "Warning" not in ignored.headers


@pytest.mark.behaviour("FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema")
async def test_a_schema_that_keeps_everything_knows_no_unknown_fields(api: Api) -> None:
    await define(api, definition(version(openapi={"type": "object", "x-kubernetes-preserve-unknown-fields": True})))
    made = good(await api.create(f"{PONDS}?fieldValidation=Strict", pond("a", litres=1, deep={"er": [1]})), 201)
    assert made["spec"] == {"litres": 1, "deep": {"er": [1]}}
    config = pond("b", anything=True)
    applied = await api.patch(f"{PONDS}/b?fieldManager=me&fieldValidation=Strict", config, "apply")
    assert good(applied, 201)["spec"] == {"anything": True}


@pytest.mark.behaviour("FieldValidation should create/apply a valid CR for CRD with validation schema")
async def test_an_object_that_its_schema_knows_is_created_and_applied(api: Api) -> None:
    await define(api, definition())
    good(await api.create(f"{PONDS}?fieldValidation=Strict", pond("a", litres=1, fish=["carp"])), 201)
    applied = await api.patch(f"{PONDS}/b?fieldManager=me&fieldValidation=Strict", pond("b", litres=2), "apply")
    assert good(applied, 201)["spec"] == {"litres": 2}


@pytest.mark.behaviour(
    "FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema"
)
async def test_fields_that_the_schema_does_not_know_are_refused_in_every_kind_of_write(api: Api) -> None:
    await define(api, definition())
    good(await api.create(PONDS, pond("a", litres=1)), 201)
    strictly = "?fieldValidation=Strict"
    extra = pond("a", litres=1, depth=2)
    refused = await api.create(f"{PONDS}{strictly}", pond("b", depth=2))
    assert refused.code == 400 and 'unknown field "spec.depth"' in refused.body["message"]
    assert (await api.call("PUT", f"{PONDS}/a{strictly}", extra)).code == 400
    patched = await api.patch(f"{PONDS}/a{strictly}", {"spec": {"depth": 2}})
    assert patched.code == 422 and 'unknown field "spec.depth"' in patched.body["message"]
    applied = await api.patch(f"{PONDS}/a{strictly}&fieldManager=me", extra, "apply")
    assert applied.code == 400 and ".spec.depth: field not declared in schema" in applied.body["message"]


async def test_metadata_of_the_wrong_type_is_refused_in_words(api: Api) -> None:
    await define(api, definition(version(openapi=OPEN)))
    body = pond("a")
    body["metadata"]["labels"] = {"a": 1}
    refused = await api.create(PONDS, body)
    assert refused.code == 400
    assert refused.body["message"].startswith(
        'Pond in version "v1" cannot be handled as a Pond: json: cannot unmarshal'
    )
