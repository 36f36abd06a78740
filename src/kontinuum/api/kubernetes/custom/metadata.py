"""Metadata inside custom resources: their own, and that of whole objects embedded in them."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.kubernetes.schema import definition
from kontinuum.api.kubernetes.structure import Mismatch, conform_to
from kontinuum.api.kubernetes.validation import metadata as rules
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def conform(obj: Object, schema: Schema) -> list[str]:
    """Bring the object's metadata, and that of embedded objects, into its structure; the unknown fields' paths.

    Raises Mismatch where metadata cannot be understood.
    """
    unknown = _conform_one(obj, "")
    if schema.has_embedded:
        _walk(obj, schema, "", unknown, is_root=True)
    return unknown


def check_embedded(value: Any, schema: Schema, path: str = "", *, is_root: bool = True) -> list[FieldError]:
    """What is wrong with embedded objects' identity."""
    if not (schema.has_embedded or schema.embedded):
        return []
    errors: list[FieldError] = []
    if isinstance(value, dict):
        if schema.embedded and not is_root:
            errors += _check_identity(value, path)
        for key, one in value.items():
            below = schema.properties.get(key, schema.additional)
            if below is not None:
                errors += check_embedded(one, below, f"{path}.{key}" if path else key, is_root=False)
    elif isinstance(value, list) and schema.items is not None:
        for index, one in enumerate(value):
            errors += check_embedded(one, schema.items, f"{path}[{index}]", is_root=False)
    return errors


def _walk(value: Any, schema: Schema, path: str, unknown: list[str], *, is_root: bool = False) -> None:
    if isinstance(value, dict):
        if schema.embedded and not is_root:
            unknown += _conform_one(value, f"{path}.")
        for key, one in value.items():
            below = schema.properties.get(key, schema.additional)
            if below is not None and (below.has_embedded or below.embedded):
                _walk(one, below, f"{path}.{key}" if path else key, unknown)
    elif isinstance(value, list) and schema.items is not None:
        for index, one in enumerate(value):
            _walk(one, schema.items, f"{path}[{index}]", unknown)


def _conform_one(obj: Object, path: str) -> list[str]:
    metadata = obj.get("metadata")
    if metadata is None:
        obj.pop("metadata", None)
        return []
    if not isinstance(metadata, dict):
        raise Mismatch(f"{path}metadata: expected an object")
    return [f"{path}metadata.{one}" for one in conform_to(metadata, definition(OBJECT_META))]


def _check_identity(obj: Object, path: str) -> list[FieldError]:
    errors = []
    for field in ("apiVersion", "kind"):
        value = obj.get(field)
        if not value:
            errors.append(fields.required(f"{path}.{field}", "must not be empty"))
        elif not isinstance(value, str):
            errors.append(fields.invalid(f"{path}.{field}", value, "must be a string"))
    if isinstance(obj.get("kind"), str) and obj["kind"]:
        problems = names.dns_1035_label(obj["kind"].lower())
        errors += [fields.invalid(f"{path}.kind", obj["kind"], problem) for problem in problems]
    metadata = obj.get("metadata") or {}
    below = rules.check_labels(metadata.get("labels"), f"{path}.metadata.labels")
    return [*errors, *below, *rules.check_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")]
