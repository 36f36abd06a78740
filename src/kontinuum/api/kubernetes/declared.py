"""The built-in kinds as expressions see them when they are checked against a type: their definitions, declared.

What has no single type (quantities, int-or-string, free objects) is dyn, and so is a definition within itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kontinuum.api.kubernetes.schema import Definition, Type, definition, definition_of
from kontinuum.api.machinery.cel.schemas import Declared, declare

ANYTHING: dict[str, Any] = {"x-kubernetes-int-or-string": True}
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
TIME = {"type": "string", "format": "date-time", "nullable": True}
SCALARS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "bytes": {"type": "string", "format": "byte"}, "bool": {"type": "boolean"},
    "int32": {"type": "integer"}, "int64": {"type": "integer"}, "double": {"type": "number"},
    "time": TIME, "micro-time": TIME,
}  # fmt: skip


@cache
def declared_kind(api_version: str, kind: str) -> Declared | None:
    """Raises KeyError."""
    return declare(_object(definition_of(api_version, kind), frozenset()), kind, is_root=True)


def declared_custom(schema: Mapping[str, Any] | None, kind: str) -> Declared | None:
    """The kind of a CustomResourceDefinition: its own schema says little or nothing about metadata."""
    properties = {**((schema or {}).get("properties") or {}), "metadata": _metadata()}
    return declare({**(schema or {}), "type": "object", "properties": properties}, kind, is_root=True)


@cache
def _metadata() -> dict[str, Any]:
    return _object(definition(OBJECT_META), frozenset())


def _object(found: Definition, above: frozenset[str]) -> dict[str, Any]:
    above |= {found.name}
    return {"type": "object", "properties": {key: _schema(one, above) for key, one in found.fields.items()}}


def _schema(type_: Type, above: frozenset[str]) -> dict[str, Any]:
    if type_.form == "object":
        return ANYTHING if type_.definition in above else _object(definition(type_.definition), above)
    if type_.form in ("list", "map") and type_.element is not None:
        below = _schema(type_.element, above)
        if type_.form == "map":
            return {"type": "object", "additionalProperties": below}
        return {"type": "array", "items": below}
    return SCALARS.get(type_.form, ANYTHING)
