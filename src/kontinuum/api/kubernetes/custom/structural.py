"""Structural schemas: every field has a type, and logic (allOf, anyOf, oneOf, not) only restricts values.

The rules are those of the Kubernetes documentation ("Specifying a structural schema") and apiextensions-apiserver's
``ValidateStructural``, which sorts its complaints.
"""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.regex import BadExpression, compile_expression

ROOT, ITEM, FIELD = "root", "item", "field"
MISSING_TYPE = {
    ROOT: "must not be empty at the root",
    ITEM: "must not be empty for specified array items",
    FIELD: "must not be empty for specified object fields",
}
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
FORBIDDEN = {
    "type": "must be empty to be structural", "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural", "title": "must be empty to be structural",
    "description": "must be empty to be structural", "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}  # fmt: skip


def check(source: Object, path: str) -> list[FieldError]:
    """Why a schema is not structural; empty if it is."""
    found = _check_node(source, ROOT, path) + _check_completeness(source, source, path)
    return sorted(dict.fromkeys(found), key=str)


def _check_node(source: Object, level: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    items, additional = source.get("items"), source.get("additionalProperties")
    if source.get("type") == "array" and items is None:
        errors.append(fields.required(f"{path}.items", "must be specified"))
    if isinstance(items, dict):
        errors += _check_node(items, ITEM, f"{path}.items")
    for name, below in (source.get("properties") or {}).items():
        errors += _check_node(below, FIELD, f"{path}.properties[{name}]")
    if additional is not None and additional is not False:
        if level == ROOT:
            errors.append(fields.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, dict):
            errors += _check_node(additional, FIELD, f"{path}.additionalProperties")
    errors += _check_extensions(source, path)
    errors += _check_values(source, path, skips=_skipped(source))
    errors += _check_type(source, level, path)
    return errors + _check_resource(source, level, path)


def _check_extensions(source: Object, path: str) -> list[FieldError]:
    errors = []
    if source.get("x-kubernetes-int-or-string"):
        for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if source.get(name):
                problem = "must be false if x-kubernetes-int-or-string is true"
                errors.append(fields.invalid(f"{path}.{name}", True, problem))
    return errors


def _check_type(source: Object, level: str, path: str) -> list[FieldError]:
    kind = source.get("type", "")
    where = f"{path}.type"
    is_embedded = bool(source.get("x-kubernetes-embedded-resource"))
    is_free = source.get("x-kubernetes-int-or-string") or source.get("x-kubernetes-preserve-unknown-fields")
    errors = []
    if is_embedded and kind != "object":
        problem = "must be object if x-kubernetes-embedded-resource is true"
        errors.append(fields.invalid(where, kind, problem) if kind else fields.required(where, problem))
    elif not kind and not is_free:
        errors.append(fields.required(where, MISSING_TYPE[level]))
    if is_embedded and source.get("additionalProperties") is not None:
        problem = "must not be used if x-kubernetes-embedded-resource is set"
        errors.append(fields.forbidden(f"{path}.additionalProperties", problem))
    if level == ROOT and kind and kind != "object":
        errors.append(fields.invalid(where, kind, "must be object at the root"))
    return errors


def _check_resource(source: Object, level: str, path: str) -> list[FieldError]:
    """What a whole object's schema may say of apiVersion, kind and metadata."""
    errors = []
    properties = source.get("properties") or {}
    is_embedded = bool(source.get("x-kubernetes-embedded-resource"))
    if level == ROOT or is_embedded:
        for name in ("kind", "apiVersion"):
            kind = (properties.get(name) or {}).get("type", "")
            if name in properties and kind != "string":
                errors.append(fields.invalid(f"{path}.properties[{name}].type", kind, "must be string"))
        kind = (properties.get("metadata") or {}).get("type", "")
        if "metadata" in properties and kind != "object":
            errors.append(fields.invalid(f"{path}.properties[metadata].type", kind, "must be object"))
    if level == ROOT and "metadata" in properties and not _is_named_only(properties["metadata"]):
        problem = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(fields.forbidden(f"{path}.properties[metadata]", problem))
    if is_embedded and not properties and not source.get("x-kubernetes-preserve-unknown-fields"):
        problem = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        errors.append(fields.required(f"{path}.properties", problem))
    return errors


def _is_named_only(metadata: Object) -> bool:
    names = set(metadata.get("properties") or ())
    others = set(metadata) - {"type", "properties", "default", "description"}
    return names <= {"name", "generateName"} and not others


def _skipped(source: Object) -> str:
    """Where the types of ``int-or-string`` may be told again: ``anyOf``, or in the first of ``allOf``."""
    if source.get("anyOf") == INT_OR_STRING:
        return "anyOf"
    first: Object = next(iter(source.get("allOf") or ()), {})
    return "allOf" if first.get("anyOf") == INT_OR_STRING else ""


def _check_values(source: Object, path: str, *, skips: str = "") -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("anyOf", "allOf", "oneOf"):
        if skips == name == "anyOf":
            continue
        for index, below in enumerate(source.get(name) or ()):
            inner = "anyOf" if skips == name == "allOf" and index == 0 else ""
            errors += _check_nested(below, f"{path}.{name}[{index}]", skips=inner)
    if isinstance(source.get("not"), dict):
        errors += _check_nested(source["not"], f"{path}.not")
    pattern = source.get("pattern")
    if pattern:
        try:
            compile_expression(pattern)
        except BadExpression as error:
            problem = f"must be a valid regular expression, but isn't: {error}"
            errors.append(fields.invalid(f"{path}.pattern", pattern, problem))
    return errors


def _check_nested(source: Object, path: str, *, skips: str = "") -> list[FieldError]:
    errors = _check_values(source, path, skips=skips)
    if isinstance(source.get("items"), dict):
        errors += _check_nested(source["items"], f"{path}.items")
    for name, below in (source.get("properties") or {}).items():
        errors += _check_nested(below, f"{path}.properties[{name}]")
    errors += [fields.forbidden(f"{path}.{name}", text) for name, text in FORBIDDEN.items() if source.get(name)]
    if "metadata" in (source.get("properties") or {}):
        problem = "must not be specified in a nested context"
        errors.append(fields.forbidden(f"{path}.properties[metadata]", problem))
    return errors


def _check_completeness(source: Object, skeleton: Object, path: str) -> list[FieldError]:
    """Whatever logic talks about must be specified outside of it as well."""
    errors: list[FieldError] = []
    for name in ("allOf", "anyOf", "oneOf"):
        for index, below in enumerate(source.get(name) or ()):
            errors += _check_covered(below, skeleton, f"{path}.{name}[{index}]", path)
    if isinstance(source.get("not"), dict):
        errors += _check_covered(source["not"], skeleton, f"{path}.not", path)
    for name, below in (source.get("properties") or {}).items():
        errors += _check_completeness(below, below, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        below = source.get(name)
        if isinstance(below, dict):
            errors += _check_completeness(below, below, f"{path}.{name}")
    return errors


def _check_covered(nested: Object, skeleton: Any, path: str, skeleton_path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    because = f"because it is defined in {path}"
    known = (skeleton or {}).get("properties") or {}
    for name, below in (nested.get("properties") or {}).items():
        where = f"{skeleton_path}.properties[{name}]"
        if name not in known:
            errors.append(fields.required(where, f"{because}.properties[{name}]"))
        errors += _check_covered(below, known.get(name), f"{path}.properties[{name}]", where)
    if isinstance(nested.get("items"), dict):
        items = (skeleton or {}).get("items")
        if items is None:
            errors.append(fields.required(f"{skeleton_path}.items", f"{because}.items"))
        errors += _check_covered(nested["items"], items, f"{path}.items", f"{skeleton_path}.items")
    for name in ("allOf", "anyOf", "oneOf"):
        for index, below in enumerate(nested.get(name) or ()):
            errors += _check_covered(below, skeleton, f"{path}.{name}[{index}]", skeleton_path)
    if isinstance(nested.get("not"), dict):
        errors += _check_covered(nested["not"], skeleton, f"{path}.not", skeleton_path)
    return errors
