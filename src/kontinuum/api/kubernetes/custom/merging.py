"""A structural schema as merges see it: which lists are sets or maps, and what is owned whole."""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.kubernetes.custom.schema import Schema, default_of
from kontinuum.api.kubernetes.schema import Type
from kontinuum.api.kubernetes.shapes import shape_of
from kontinuum.api.machinery.shapes import DEDUCED, LIST, MAP, SCALAR, Shape

SCALARS = {"string": "string", "boolean": "boolean", "integer": "numeric", "number": "numeric"}
OBJECT_META = Type("object", definition="io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
TEXT = Shape(SCALAR, scalar="string")


def shape_of_schema(schema: Schema) -> Shape:
    """The shape of a whole custom resource."""
    return _shape(schema, is_resource=True)


def _shape(schema: Schema, *, is_resource: bool = False) -> Shape:
    kind = schema.types[0] if len(schema.types) == 1 else ""
    if kind == "array":
        return _list_shape(schema)
    if kind == "object" or schema.properties or schema.additional is not None:
        return _map_shape(schema, is_resource=is_resource or schema.embedded)
    if kind in SCALARS:
        return Shape(SCALAR, scalar=SCALARS[kind])
    return Shape(SCALAR) if schema.types else DEDUCED


def _list_shape(schema: Schema) -> Shape:
    items = schema.items
    defaults = {}
    for key in schema.list_keys if items is not None else ():
        below = items.properties.get(key) if items is not None else None
        if below is not None and below.default is not None:
            defaults[key] = default_of(below)
    return Shape(
        LIST,
        is_atomic=schema.list_type not in ("set", "map"),
        element=_shape(items) if items is not None else DEDUCED,
        keys=schema.list_keys if schema.list_type == "map" else (),
        key_defaults=defaults,
    )


def _map_shape(schema: Schema, *, is_resource: bool) -> Shape:
    def load() -> Mapping[str, Shape]:
        found = {name: _shape(below) for name, below in schema.properties.items()}
        if is_resource:
            found |= {"apiVersion": TEXT, "kind": TEXT, "metadata": shape_of("metadata", OBJECT_META)}
        return found

    element = _shape(schema.additional) if schema.additional is not None else None
    if element is None and (schema.keeps_unknown or schema.takes_any_key):
        element = DEDUCED
    always = frozenset({"metadata"} if is_resource else ())
    return Shape(MAP, is_atomic=schema.is_atomic_map, element=element, always=always, load_fields=load)
