"""A structural schema, compiled: what pruning, defaulting and validation read instead of the JSON that was written.

The rules are those of "structural schemas" in the Kubernetes documentation: types, properties and items say what there
is, and everything below ``allOf``, ``anyOf``, ``oneOf`` and ``not`` only restricts values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from kontinuum.api.machinery.objects import Object

META_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(slots=True, eq=False)
class Schema:
    """One node. ``source`` is the JSONSchemaProps that it was made of."""

    source: Object
    types: tuple[str, ...] = ()
    """The JSON types that a value may have; empty: any. ``int-or-string`` has two."""
    nullable: bool = False
    properties: dict[str, Schema] = field(default_factory=dict)
    items: Schema | None = None
    additional: Schema | None = None
    """What the values of a map are like."""
    keeps_unknown: bool = False
    """``x-kubernetes-preserve-unknown-fields``."""
    embedded: bool = False
    """A whole object with apiVersion, kind and metadata."""
    default: bytes | None = None
    """JSON, so that each use is a fresh copy."""
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    is_atomic_map: bool = False
    all_of: tuple[Schema, ...] = ()
    any_of: tuple[Schema, ...] = ()
    one_of: tuple[Schema, ...] = ()
    none_of: Schema | None = None
    required: tuple[str, ...] = ()
    has_defaults: bool = False
    """Here or below; walks leave out what has none."""
    has_lists: bool = False
    """Sets or maps, here or below."""
    has_rules: bool = False
    """``x-kubernetes-validations``, here or below."""
    has_embedded: bool = False
    """Below this node."""

    @property
    def takes_any_key(self) -> bool:
        """``additionalProperties`` is true or a schema."""
        return self.additional is not None or self.source.get("additionalProperties") is True

    def below(self) -> Iterator[Schema]:
        """The nodes that say what there is directly below this one."""
        yield from self.properties.values()
        if self.items is not None:
            yield self.items
        if self.additional is not None:
            yield self.additional


def compile_schema(source: Object | None) -> Schema:
    """The schema that ``source`` (JSONSchemaProps) describes; without any, everything is kept and allowed."""
    if source is None:
        return Schema({}, ("object",), keeps_unknown=True)
    node = Schema(source)
    kind = source.get("type")
    if source.get("x-kubernetes-int-or-string"):
        node.types = ("integer", "string")
    elif kind:
        node.types = (kind,)
    node.nullable = bool(source.get("nullable"))
    node.keeps_unknown = bool(source.get("x-kubernetes-preserve-unknown-fields"))
    node.embedded = bool(source.get("x-kubernetes-embedded-resource"))
    node.list_type = source.get("x-kubernetes-list-type") or ""
    node.list_keys = tuple(source.get("x-kubernetes-list-map-keys") or ())
    node.is_atomic_map = source.get("x-kubernetes-map-type") == "atomic"
    node.required = tuple(source.get("required") or ())
    if source.get("default") is not None:
        node.default = orjson.dumps(source["default"])
    _compile_below(node, source)
    node.all_of = _several(source, "allOf")
    node.any_of = _several(source, "anyOf")
    node.one_of = _several(source, "oneOf")
    node.none_of = compile_schema(source["not"]) if isinstance(source.get("not"), dict) else None
    _summarize(node)
    return node


def _compile_below(node: Schema, source: Object) -> None:
    node.properties = {name: compile_schema(one) for name, one in (source.get("properties") or {}).items()}
    items, additional = source.get("items"), source.get("additionalProperties")
    if isinstance(items, dict):
        node.items = compile_schema(items)
    if isinstance(additional, dict):
        node.additional = compile_schema(additional)


def _several(source: Object, name: str) -> tuple[Schema, ...]:
    return tuple(compile_schema(one) for one in source.get(name) or ())


def _summarize(node: Schema) -> None:
    below = list(node.below())
    node.has_defaults = node.default is not None or any(one.has_defaults for one in below)
    node.has_lists = node.list_type in ("set", "map") or any(one.has_lists for one in below)
    node.has_rules = bool(node.source.get("x-kubernetes-validations")) or any(one.has_rules for one in below)
    node.has_embedded = any(one.embedded or one.has_embedded for one in below)


def default_of(node: Schema) -> Any:
    """A fresh copy of the node's default, which it must have."""
    return orjson.loads(node.default or b"null")
