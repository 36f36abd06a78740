"""What is wrong with a schema: is it structural, are its lists and defaults sound, do its CEL rules compile?

Messages, paths and order are those of apiextensions-apiserver (``ValidateStructural``, ``ValidateDefaults`` and
``ValidateCustomResourceDefinitionOpenAPISchema``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from kontinuum.api.kubernetes.custom import lists, rule_checks, rules, shape, structural, values
from kontinuum.api.kubernetes.custom.schema import META_FIELDS, Schema, compile_schema
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

TYPES = ("array", "boolean", "integer", "number", "object", "string")
AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema a node is, as far as rules depend on it."""

    path: str
    is_root: bool = False
    in_metadata: bool = False
    no_defaults: str | None = None
    """Why there may be no default; "" for no particular reason."""


def check(source: Object, path: str, *, has_status: bool, is_same: bool) -> list[FieldError]:
    """``is_same``: the schema has not changed in this update, and was sound before."""
    errors: list[FieldError] = []
    if has_status:
        errors += _check_root(source, path)
    if source.get("nullable"):
        errors.append(fields.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    if is_same:
        return errors
    unstructured = structural.check(source, path)
    errors += unstructured
    schema = compile_schema(source)
    if not unstructured:
        errors += _check_defaults(schema, path)
    errors += _check_node(source, _Place(path, is_root=True))
    if not errors and schema.has_rules:
        errors += rule_checks.check_programs(schema, path)
    return errors


def _check_root(source: Object, path: str) -> list[FieldError]:
    """The status is validated by its own part of the schema, so nothing at the root may be about the whole."""
    if source.get("type", "object") != "object":
        problem = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [fields.invalid(f"{path}.type", source["type"], problem)]
    if any(name not in AT_ROOT for name in source):
        allowed = " ".join(AT_ROOT.values())
        problem = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        return [fields.invalid(path, source, problem)]
    return []


def _check_node(source: Object, place: _Place) -> list[FieldError]:
    errors = _check_supported(source, place)
    path = place.path
    if source.get("uniqueItems"):
        problem = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(fields.forbidden(f"{path}.uniqueItems", problem))
    additional = source.get("additionalProperties")
    if additional is not None and source.get("properties") and additional is not True:
        problem = "additionalProperties and properties are mutual exclusive"
        errors.append(fields.forbidden(f"{path}.additionalProperties", problem))
    for below, where in _below(source, place):
        errors += _check_node(below, where)
    if source.get("x-kubernetes-preserve-unknown-fields") is False:
        where_ = f"{path}.x-kubernetes-preserve-unknown-fields"
        errors.append(fields.invalid(where_, False, "must be true or undefined"))
    errors += _check_map_type(source, path)
    errors += _check_list_type(source, path)
    return errors + rule_checks.check_texts(source, path)


def _check_supported(source: Object, place: _Place) -> list[FieldError]:
    errors = []
    path, kind = place.path, source.get("type")
    if kind and kind not in TYPES:
        errors.append(fields.not_supported(f"{path}.type", kind, TYPES))
    if source.get("default") is not None and place.no_defaults is not None:
        errors.append(fields.forbidden(f"{path}.default", f"must not be set {place.no_defaults}".strip()))
    errors += [
        fields.forbidden(f"{path}.{name}", f"{name} is not supported") for name in UNSUPPORTED if source.get(name)
    ]
    if kind == "null":
        problem = "type cannot be set to null, use nullable as an alternative"
        errors.append(fields.forbidden(f"{path}.type", problem))
    if isinstance(source.get("items"), list):
        errors.append(fields.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.in_metadata and source.get("x-kubernetes-embedded-resource"):
        where = f"{path}.x-kubernetes-embedded-resource"
        errors.append(fields.forbidden(where, "must not be used inside of resource meta"))
    return errors


def _below(source: Object, place: _Place) -> Iterator[tuple[Object, _Place]]:
    path = place.path
    inside = replace(place, is_root=False)
    if isinstance(source.get("additionalProperties"), dict):
        where = replace(inside, path=f"{path}.additionalProperties")
        if place.in_metadata:
            where = replace(where, no_defaults="inside additionalProperties applying to object metadata")
        yield source["additionalProperties"], where
    is_resource = place.is_root or bool(source.get("x-kubernetes-embedded-resource"))
    for name, below in (source.get("properties") or {}).items():
        where = replace(inside, path=f"{path}.properties[{name}]")
        if is_resource and name in META_FIELDS:
            where = replace(where, in_metadata=True)
            if place.is_root:
                where = replace(where, no_defaults=f"in top-level {name}")
        yield below, where
    if isinstance(source.get("not"), dict):
        yield source["not"], replace(inside, path=f"{path}.not")
    for name in ("allOf", "oneOf", "anyOf"):
        for index, below in enumerate(source.get(name) or ()):
            yield below, replace(inside, path=f"{path}.{name}[{index}]")
    if isinstance(source.get("items"), dict):
        yield source["items"], replace(inside, path=f"{path}.items")


def _check_map_type(source: Object, path: str) -> list[FieldError]:
    kind = source.get("x-kubernetes-map-type")
    if kind is None:
        return []
    errors = _must_be(source, path, "object", "x-kubernetes-map-type")
    if kind not in ("atomic", "granular"):
        errors.append(fields.not_supported(f"{path}.x-kubernetes-map-type", kind, ("atomic", "granular")))
    return errors


def _must_be(source: Object, path: str, kind: str, extension: str) -> list[FieldError]:
    found, problem = source.get("type", ""), f"must be {kind} if {extension} is specified"
    if found == kind:
        return []
    return [fields.invalid(f"{path}.type", found, problem) if found else fields.required(f"{path}.type", problem)]


def _check_list_type(source: Object, path: str) -> list[FieldError]:
    kind, keys = source.get("x-kubernetes-list-type"), source.get("x-kubernetes-list-map-keys") or []
    items = source.get("items")
    here = f"{path}.x-kubernetes-list-type"
    errors: list[FieldError] = []
    if kind is not None:
        errors += _must_be(source, path, "array", "x-kubernetes-list-type")
        if not errors and kind == "set" and isinstance(items, dict):
            errors += _check_set_items(items, path)
        if kind not in ("atomic", "set", "map"):
            errors.append(fields.not_supported(here, kind, ("atomic", "set", "map")))
    if keys and kind != "map":
        problem = "must be map if x-kubernetes-list-map-keys is non-empty"
        errors.append(fields.required(here, problem) if kind is None else fields.invalid(here, kind, problem))
    if kind == "map":
        errors += _check_map_items(items, keys, path)
    if kind in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        problem = f"cannot be nullable when x-kubernetes-list-type is {kind}"
        errors.append(fields.forbidden(f"{path}.items.nullable", problem))
    return errors


def _check_set_items(items: Object, path: str) -> list[FieldError]:
    problem = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        where = f"{path}.items.x-kubernetes-list-type"
        return [fields.invalid(where, items["x-kubernetes-list-type"], problem)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [fields.invalid(f"{path}.items.x-kubernetes-map-type", None, problem)]
    return []


def _check_map_items(items: Any, keys: list[str], path: str) -> list[FieldError]:
    errors = []
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        errors.append(fields.required(where, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        problem = "must have a schema if x-kubernetes-list-type is map"
        return [*errors, fields.required(f"{path}.items", problem)]
    if not isinstance(items, dict):
        return errors
    if items.get("type") != "object":
        problem = "must be object if parent array's x-kubernetes-list-type is map"
        return [*errors, fields.invalid(f"{path}.items.type", items.get("type", ""), problem)]
    for index, key in enumerate(keys):
        below = (items.get("properties") or {}).get(key)
        if below is None:
            errors.append(fields.invalid(where, keys, "entries must all be names of item properties"))
        else:
            errors += _check_key(items, key, below, f"{path}.items.properties[{key}]")
        if key in keys[:index]:
            errors.append(fields.invalid(where, keys, "must not contain duplicate entries"))
    return errors


def _check_key(items: Object, key: str, below: Object, path: str) -> list[FieldError]:
    errors = []
    if below.get("type") in ("array", "object"):
        problem = "must be a scalar type if parent array's x-kubernetes-list-type is map"
        errors.append(fields.invalid(f"{path}.type", items.get("type"), problem))
    if key not in (items.get("required") or ()) and below.get("default") is None:
        problem = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        errors.append(fields.required(f"{path}.default", problem))
    if below.get("nullable"):
        problem = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
        errors.append(fields.forbidden(f"{path}.nullable", problem))
    return errors


def _check_defaults(schema: Schema, path: str) -> list[FieldError]:
    """Defaults must be what pruning and validation would leave alone."""
    errors: list[FieldError] = []
    if schema.default is not None:
        where = f"{path}.default"
        value = orjson.loads(schema.default)
        pruned = {"value": orjson.loads(schema.default)}
        shape.prune(pruned, Schema({}, ("object",), properties={"value": schema}))
        if pruned.get("value") != value:
            errors.append(fields.invalid(where, value, "must not have unknown fields"))
        else:
            shape.default(pruned, Schema({}, ("object",), properties={"value": schema}, has_defaults=True))
            value = pruned["value"]
            found = [*values.check(value, schema), *lists.check(value, schema), *rules.check_value(value, schema)]
            errors += [FieldError(_below_path(where, one.path), one.reason, one.message) for one in found]
    for name, below in schema.properties.items():
        errors += _check_defaults(below, f"{path}.properties[{name}]")
    if schema.items is not None:
        errors += _check_defaults(schema.items, f"{path}.items")
    if schema.additional is not None:
        errors += _check_defaults(schema.additional, f"{path}.additionalProperties")
    return errors


def _below_path(where: str, path: str) -> str:
    if path in ("", values.NOWHERE):
        return where
    return f"{where}{path}" if path.startswith("[") else f"{where}.{path}"
