"""``x-kubernetes-list-type``: the elements of a ``set``, and the keys of a ``map``, occur once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import orjson

from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError


def check(value: Any, schema: Schema, path: str = "") -> list[FieldError]:
    """The elements that occur a second time, anywhere in ``value``."""
    if not schema.has_lists:
        return []
    errors: list[FieldError] = []
    if isinstance(value, dict):
        for key, one in value.items():
            if key in schema.properties:
                errors += check(one, schema.properties[key], f"{path}.{key}" if path else key)
            elif schema.additional is not None:
                errors += check(one, schema.additional, f"{path}[{key}]")
    elif isinstance(value, list):
        if schema.list_type == "set":
            errors += [fields.duplicate(f"{path}[{index}]", value[index]) for index in _repeated(value)]
        elif schema.list_type == "map":
            errors += _check_keys(value, schema, path)
        if schema.items is not None:
            for index, one in enumerate(value):
                errors += check(one, schema.items, f"{path}[{index}]")
    return errors


def key_of(element: Any, names: Sequence[str]) -> Hashable:
    """What names an element of a ``map`` list."""
    if not isinstance(element, dict):
        return None
    return tuple(_hashable(element[name]) if name in element else None for name in names)


def _check_keys(value: list[Any], schema: Schema, path: str) -> list[FieldError]:
    for index, one in enumerate(value):
        if one is not None and not isinstance(one, dict):
            problem = "must be an object for an array of list-type map"
            return [fields.invalid(f"{path}[{index}]", one, problem)]
    keys = [{name: one[name] for name in schema.list_keys if name in one} for one in (each or {} for each in value)]
    return [fields.duplicate(f"{path}[{index}]", keys[index]) for index in _repeated(keys)]


def _repeated(values: list[Any]) -> list[int]:
    """The index of each value's second occurrence; a third is not worth another complaint."""
    counts: dict[Hashable, int] = {}
    found = []
    for index, one in enumerate(values):
        key = _hashable(one)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] == 2:
            found.append(index)
    return found


def _hashable(value: Any) -> Hashable:
    # The type keeps true and 1 apart.
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return (type(value) is bool, value)
