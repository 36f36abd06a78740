"""Pruning, defaulting and validation of custom objects, for random schemas and random objects."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kontinuum.api.kubernetes.custom import lists, schema_rules, shape, values
from kontinuum.api.kubernetes.custom.merging import shape_of_schema
from kontinuum.api.kubernetes.custom.schema import Schema, compile_schema
from kontinuum.api.machinery import merging

NAMES = st.sampled_from(["a", "b", "c", "metadata", "x-y", ""])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["", "a", "bc"])
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
KEEPS = {"x-kubernetes-preserve-unknown-fields": True}
SMALL = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    plain = st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind})
    bounded = st.sampled_from([
        {"type": "string", "maxLength": 1}, {"type": "string", "enum": ["a"]}, {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^a+$"}, {"type": "string", "format": "date-time"},
        {"type": "integer", "default": 1}, {"type": "string", "default": "a"}, {"type": "string", "nullable": True},
        {"type": "string", "nullable": True, "default": None}, {"x-kubernetes-int-or-string": True},
        {"type": "object", **KEEPS}, KEEPS, {"type": "object", "additionalProperties": True},
    ])  # fmt: skip
    return plain | bounded


def containers(below: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    kept = st.sampled_from([{}, KEEPS, {"nullable": True}, {"default": {}}, {"required": ["a"]}])
    maps = st.builds(lambda properties, more: {"type": "object", "properties": properties, **more},
                     st.dictionaries(NAMES, below, max_size=3), kept)  # fmt: skip
    free = below.map(lambda one: {"type": "object", "additionalProperties": one})
    kinds = st.sampled_from([{}, {"x-kubernetes-list-type": "set"}, {"maxItems": 1}])
    listed = st.builds(lambda items, more: {"type": "array", "items": items, **more}, below, kinds)
    return maps | free | listed


SCHEMAS = st.dictionaries(NAMES, st.recursive(leaves(), containers, max_leaves=8), max_size=4).map(
    lambda properties: {"type": "object", "properties": properties}
)


def copied(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def completed(obj: dict[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    made = copied(obj)
    unknown = shape.prune(made, schema)
    shape.default(made, schema)
    return made, unknown


@SMALL
@given(source=SCHEMAS, obj=OBJECTS)
def test_an_object_that_was_pruned_and_completed_stays_as_it_is(source: dict[str, Any], obj: dict[str, Any]) -> None:
    schema = compile_schema(source)
    once, _ = completed(obj, schema)
    twice, unknown = completed(once, schema)
    assert twice == once and unknown == []


@SMALL
@given(source=SCHEMAS, obj=OBJECTS)
def test_what_is_valid_names_no_field_that_was_pruned(source: dict[str, Any], obj: dict[str, Any]) -> None:
    """Pruning only takes away: what is left was there before, at the same place."""
    schema = compile_schema(source)
    left = copied(obj)
    shape.prune(left, schema)
    assert is_part(left, obj)


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_part(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


@SMALL
@given(source=SCHEMAS, obj=OBJECTS)
def test_checking_answers_whatever_is_checked_and_an_unchanged_object_is_never_refused(
    source: dict[str, Any], obj: dict[str, Any]
) -> None:
    schema = compile_schema(source)
    made, _ = completed(obj, schema)
    found = values.check(made, schema) + lists.check(made, schema)
    # Only a field without a name has a path without words.
    assert all(one.message and (one.path or "" in made) for one in found)
    own = {key: one for key, one in made.items() if one is not None}
    assert values.check(own, schema, old=own) == []


@SMALL
@given(source=SCHEMAS, obj=OBJECTS)
def test_merges_find_their_way_through_every_valid_object(source: dict[str, Any], obj: dict[str, Any]) -> None:
    schema = compile_schema(source)
    made, _ = completed(obj, schema)
    obj_shape = shape_of_schema(schema)
    if values.check(made, schema) or lists.check(made, schema):
        return
    made.pop("metadata", None)
    merging.check(made, obj_shape)


@SMALL
@given(source=st.dictionaries(
    st.sampled_from(["type", "properties", "items", "additionalProperties", "allOf", "not", "default", "nullable",
                     "required", "enum", "pattern", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
                     "x-kubernetes-validations", "x-kubernetes-embedded-resource", "title"]),
    st.sampled_from(["object", "array", "string", "map", "(", [], {}, [{}], ["a"], True, None, 1,
                     {"a": {"type": "object"}}, [{"rule": "self"}], [{"rule": "self.a == 1"}]]),
    max_size=6,
))  # fmt: skip
def test_definitions_are_judged_whatever_they_hold_of_the_right_types(source: dict[str, Any]) -> None:
    source = {key: value for key, value in source.items() if fits(key, value)}
    for one in schema_rules.check(source, "schema", has_status=True, is_same=False):
        assert one.path.startswith("schema")


WANTED: dict[str, type] = {
    "type": str, "properties": dict, "allOf": list, "not": dict, "nullable": bool, "required": list, "enum": list,
    "pattern": str, "x-kubernetes-list-type": str, "x-kubernetes-list-map-keys": list, "title": str,
    "x-kubernetes-validations": list, "x-kubernetes-embedded-resource": bool,
}  # fmt: skip


def fits(key: str, value: Any) -> bool:
    """Whether decoding lets the value through to validation, which types only what Go has types for."""
    if key in ("items", "additionalProperties"):
        return isinstance(value, dict | bool) and (isinstance(value, bool) or all_schemas(value))
    if key == "default":
        return True
    if not isinstance(value, WANTED[key]):
        return False
    if key == "properties":
        return all(isinstance(one, dict) for one in value.values())
    if key == "allOf":
        return all(isinstance(one, dict) and not one for one in value)
    if key in ("required", "x-kubernetes-list-map-keys"):
        return all(isinstance(one, str) for one in value)
    if key == "x-kubernetes-validations":
        return all(isinstance(one, dict) and "rule" in one for one in value)
    return all_schemas(value) if key == "not" else True


def all_schemas(value: Any) -> bool:
    return isinstance(value, dict) and not value
