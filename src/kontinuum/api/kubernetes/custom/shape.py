"""Brings an object into the shape that its schema gives: prunes what the schema does not know, and fills in defaults.

As in Kubernetes: unknown fields are dropped unless the schema preserves them, nulls of fields that are not nullable
mean absent (or the default), and a default can bring others with it.
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.custom.schema import META_FIELDS, Schema, default_of
from kontinuum.api.machinery.objects import Object


def prune(obj: Object, schema: Schema) -> list[str]:
    """Drop unknown fields and meaningless nulls from a whole object; the paths of the unknown fields."""
    unknown: list[str] = []
    _prune_map(obj, schema, "", unknown, is_resource=True)
    return unknown


def default(obj: Object, schema: Schema) -> None:
    """Fill in the defaults of a whole object."""
    if schema.has_defaults:
        _default_map(obj, schema)


def _prune(value: Any, schema: Schema | None, path: str, unknown: list[str]) -> None:
    if type(value) is dict:
        _prune_map(value, schema, path, unknown, is_resource=schema is not None and schema.embedded)
    elif type(value) is list:
        items = schema.items if schema is not None else None
        if items is None and schema is not None and schema.keeps_unknown:
            return
        for index, one in enumerate(value):
            if type(one) is dict or type(one) is list:
                _prune(one, items, f"{path}[{index}]", unknown)


def _prune_map(value: Object, schema: Schema | None, path: str, unknown: list[str], *, is_resource: bool) -> None:
    if schema is None:
        unknown.extend(f"{path}.{key}" for key in value)
        value.clear()
        return
    gone: list[str] = []
    properties, additional = schema.properties, schema.additional
    keeps = schema.keeps_unknown
    for key, one in value.items():
        if is_resource and key in META_FIELDS:
            continue
        below = properties.get(key, additional)
        if below is None:
            if schema.takes_any_key or keeps:
                continue
            unknown.append(f"{path}.{key}" if path else key)
            gone.append(key)
        elif one is None:
            if not below.nullable and below.default is None:
                gone.append(key)
        elif type(one) is dict or type(one) is list:
            _prune(one, below, f"{path}.{key}" if path else key, unknown)
    for key in gone:
        del value[key]


def _default_map(value: Object, schema: Schema) -> None:
    for key, below in schema.properties.items():
        if not below.has_defaults:
            continue
        if below.default is not None and (key not in value or (value[key] is None and not below.nullable)):
            value[key] = default_of(below)
        one = value.get(key)
        if one is not None:
            _default_value(one, below)
    additional = schema.additional
    if additional is not None and additional.has_defaults:
        for key, one in value.items():
            if key not in schema.properties:
                value[key] = _filled(one, additional)


def _default_value(value: Any, schema: Schema) -> None:
    if type(value) is dict:
        _default_map(value, schema)
    elif type(value) is list and schema.items is not None and schema.items.has_defaults:
        for index, one in enumerate(value):
            value[index] = _filled(one, schema.items)


def _filled(value: Any, schema: Schema) -> Any:
    """An element of a list or map: a null takes the default."""
    if value is None and not schema.nullable and schema.default is not None:
        value = default_of(schema)
    _default_value(value, schema)
    return value
