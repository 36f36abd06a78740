"""Does a value hold what its schema says? The words are those of a real API server (go-openapi's ``validate``).

    spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10
    spec.image: Required value
    spec.kind: Unsupported value: "c": supported values: "a", "b"

On an update, what was invalid before and has not been touched passes ("ratcheting"): it is looked at only after the
value has been found invalid, so that valid objects cost nothing more.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

from kontinuum.api.kubernetes.custom import lists
from kontinuum.api.kubernetes.custom.formats import FORMATS
from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.foundation.regex import compile_expression

NOWHERE = "<nil>"
"""Where Kubernetes reports what is about several schemas and no single field."""
UNKNOWN = object()
"""There is no old value to compare with."""


def check(value: Any, schema: Schema, *, old: Any = UNKNOWN, root: str = "") -> list[FieldError]:
    """What is wrong with a value. ``old``: the value before an update; ``root`` comes before every reported path."""
    found = _check(value, schema, "")
    if found and old is not UNKNOWN:
        found = _ratchet(value, old, schema, "")
    if not root:
        return found
    return [FieldError(_joined(root, one.path), one.reason, one.message) for one in found]


def _joined(root: str, path: str) -> str:
    return root if path == NOWHERE else f"{root}.{path}"


def _check(value: Any, schema: Schema, path: str) -> list[FieldError]:
    types = schema.types
    if value is None:
        if schema.nullable or not types:
            return [] if schema.nullable else _check_enum(value, schema, path)
        return [*_wrong_type(path, types, "null"), *_check_enum(value, schema, path)]
    kind = _kind(value)
    if types and kind not in types and not _fits(kind, value, types):
        return _wrong_type(path, types, kind)
    errors: list[FieldError] = []
    if schema.any_of or schema.one_of or schema.all_of or schema.none_of is not None:
        errors += _check_combinations(value, schema, path)
    source = schema.source
    if kind == "string":
        errors += _check_text(value, source, path)
    elif kind == "object":
        errors += _check_enum(value, schema, path)
        return errors + _check_map(value, schema, path)
    elif kind == "array":
        errors += _check_list(value, schema, path)
    elif kind != "boolean":
        errors += _check_number(value, source, path)
    return errors + _check_enum(value, schema, path) if "enum" in source else errors


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "array" if isinstance(value, list) else "number"


def _fits(kind: str, value: Any, types: tuple[str, ...]) -> bool:
    """Whole numbers are numbers, and 1.0 is whole."""
    if kind == "integer":
        return "number" in types
    return kind == "number" and "integer" in types and value.is_integer()


def _wrong_type(path: str, types: tuple[str, ...], kind: str) -> list[FieldError]:
    text = f'{path} in body must be of type {",".join(types)}: "{kind}"'
    return [fields.type_invalid(path or NOWHERE, kind, text)]


def _check_text(value: str, source: dict[str, Any], path: str) -> list[FieldError]:
    errors = []
    if "maxLength" in source and len(value) > source["maxLength"]:
        errors.append(fields.too_long(path, source["maxLength"]))
    if len(value) < source.get("minLength", 0):
        errors.append(_invalid(path, value, f"should be at least {source['minLength']} chars long"))
    pattern = source.get("pattern")
    if pattern and compile_expression(pattern).search(value) is None:
        errors.append(_invalid(path, value, f"should match '{pattern}'"))
    shape = source.get("format")
    if shape in FORMATS and not FORMATS[shape](value):
        text = f"{path} in body must be of type {shape}: {fields.quoted(value)}"
        errors.append(fields.type_invalid(path or NOWHERE, value, text))
    return errors


def _check_number(value: float, source: dict[str, Any], path: str) -> list[FieldError]:
    errors = []
    step = source.get("multipleOf")
    if step and not _is_multiple(value, step):
        errors.append(_invalid(path, value, f"should be a multiple of {go_float(step)}"))
    most, least = source.get("maximum"), source.get("minimum")
    if most is not None:
        if source.get("exclusiveMaximum"):
            if value >= most:
                errors.append(_invalid(path, value, f"should be less than {go_float(most)}"))
        elif value > most:
            errors.append(_invalid(path, value, f"should be less than or equal to {go_float(most)}"))
    if least is not None:
        if source.get("exclusiveMinimum"):
            if value <= least:
                errors.append(_invalid(path, value, f"should be greater than {go_float(least)}"))
        elif value < least:
            errors.append(_invalid(path, value, f"should be greater than or equal to {go_float(least)}"))
    return errors


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and float(step).is_integer():
        return value % int(step) == 0
    try:
        return (value / step).is_integer()
    except OverflowError:
        return False


def _check_list(value: list[Any], schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    source = schema.source
    items = schema.items
    if items is not None:
        for index, one in enumerate(value):
            errors += _check(one, items, f"{path}[{index}]")
    if len(value) < source.get("minItems", 0):
        errors.append(_invalid(path, len(value), f"should have at least {source['minItems']} items"))
    if "maxItems" in source and len(value) > source["maxItems"]:
        errors.append(fields.too_many(path, len(value), source["maxItems"]))
    return errors


def _check_map(value: dict[str, Any], schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    source = schema.source
    if len(value) < source.get("minProperties", 0):
        errors.append(_invalid(path, len(value), f"should have at least {source['minProperties']} properties"))
    if "maxProperties" in source and len(value) > source["maxProperties"]:
        errors.append(fields.too_many(path or NOWHERE, len(value), source["maxProperties"]))
    properties, additional = schema.properties, schema.additional
    start = f"{path}." if path else ""
    for key, one in value.items():
        below = properties.get(key, additional)
        if below is not None:
            errors += _check(one, below, start + key)
    errors += [fields.required(start + name) for name in schema.required if name not in value]
    return errors


def _check_enum(value: Any, schema: Schema, path: str) -> list[FieldError]:
    allowed = schema.source.get("enum")
    if not allowed or any(_equal(value, one) for one in allowed):
        return []
    texts = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in allowed]
    return [fields.not_supported(path or NOWHERE, value, texts)]


def _equal(one: Any, other: Any) -> bool:
    """JSON's equality: 1 and 1.0 are the same number, and neither is true."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _check_combinations(value: Any, schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if schema.any_of:
        failures = []
        for one in schema.any_of:
            failures.append(_check(value, one, path))
            if not failures[-1]:
                break
        else:
            errors += [_combined(f'"{path}" must validate at least one schema (anyOf)'), *_best(failures)]
    if schema.one_of:
        failures = [_check(value, one, path) for one in schema.one_of]
        valid = sum(not one for one in failures)
        if valid != 1:
            reason = f"Found {valid} valid alternatives" if valid else "Found none valid"
            errors.append(_combined(f'"{path}" must validate one and only one schema (oneOf). {reason}'))
            errors += [] if valid else _best(failures)
    if schema.all_of:
        failures = [_check(value, one, path) for one in schema.all_of]
        errors += [error for failure in failures for error in failure]
        if any(failures):
            reason = ". None validated" if all(failures) else ""
            errors.append(_combined(f'"{path}" must validate all the schemas (allOf){reason}'))
    if schema.none_of is not None and not _check(value, schema.none_of, path):
        errors.append(_combined(f'"{path}" must not validate the schema (not)'))
    return errors


def _combined(text: str) -> FieldError:
    return fields.invalid(NOWHERE, "", text)


def _best(failures: list[list[FieldError]]) -> list[FieldError]:
    """Of several alternatives that failed, the complaints of the one that came nearest."""
    return min(failures, key=len)


def _ratchet(value: Any, old: Any, schema: Schema, path: str) -> list[FieldError]:
    """As ``_check``, but what equals its old value passes, however deep inside a value that has changed."""
    if isinstance(value, dict) and isinstance(old, dict):
        return _ratchet_map(value, old, schema, path)
    if isinstance(value, list) and isinstance(old, list) and schema.list_type == "map" and schema.items is not None:
        errors = _check(value, _without_below(schema), path)
        before = {lists.key_of(one, schema.list_keys): one for one in old}
        for index, one in enumerate(value):
            known = before.get(lists.key_of(one, schema.list_keys), UNKNOWN)
            errors += _ratchet_below(one, known, schema.items, f"{path}[{index}]")
        return errors
    return _check(value, schema, path)


def _ratchet_map(value: dict[str, Any], old: dict[str, Any], schema: Schema, path: str) -> list[FieldError]:
    errors = _check(value, _without_below(schema), path)
    for key, one in value.items():
        below = schema.properties.get(key, schema.additional)
        if below is not None:
            known = UNKNOWN if schema.is_atomic_map else old.get(key, UNKNOWN)
            errors += _ratchet_below(one, known, below, f"{path}.{key}" if path else key)
    return errors


def _ratchet_below(value: Any, old: Any, schema: Schema, path: str) -> list[FieldError]:
    if old is UNKNOWN:
        return _check(value, schema, path)
    return [] if _equal(value, old) else _ratchet(value, old, schema, path)


def _without_below(schema: Schema) -> Schema:
    """What a schema says of a value itself, not of what is in it."""
    return Schema(
        schema.source, schema.types, schema.nullable, required=schema.required, all_of=schema.all_of,
        any_of=schema.any_of, one_of=schema.one_of, none_of=schema.none_of,
    )  # fmt: skip


def _invalid(path: str, value: Any, problem: str) -> FieldError:
    return fields.invalid(path or NOWHERE, value, f"{path} in body {problem}")


def go_float(number: float) -> str:
    """A number as Go's ``%v`` prints it: ``10``, ``0.5``, ``1e+06``, ``2.147483647e+09``."""
    text = repr(float(number))
    mantissa, _, power = text.partition("e")
    exponent = math.floor(math.log10(abs(number))) if number else 0
    if -4 <= exponent < 6:
        return text.removesuffix(".0")
    if not power:
        sign, digits = ("-", mantissa[1:]) if number < 0 else ("", mantissa)
        plain = digits.removesuffix(".0").replace(".", "").lstrip("0").rstrip("0")
        mantissa = f"{sign}{plain[0]}.{plain[1:]}" if len(plain) > 1 else sign + plain
    return f"{mantissa.removesuffix('.0')}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
