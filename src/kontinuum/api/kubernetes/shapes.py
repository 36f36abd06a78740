"""The built-in kinds as merges see them: their definitions turned into ``Shape``."""

from __future__ import annotations

from functools import cache

from kontinuum.api.kubernetes.schema import Definition, Type, definition, definition_of
from kontinuum.api.machinery.shapes import ANY, DEDUCED, LIST, MAP, SCALAR, WHOLE, Shape

SCALARS = {
    "string": "string", "bytes": "string", "bool": "boolean", "int32": "numeric", "int64": "numeric",
    "double": "numeric", "quantity": "", "int-or-string": "", "time": "", "micro-time": "",
}  # fmt: skip

KEY_DEFAULTS = {"protocol": "TCP"}
"""Ports are told apart by number and protocol, and most configurations leave the protocol out."""

# Objects that Go holds as values, not pointers: there even if nobody has set anything in them. Those that are required
# are always such; of the optional ones these, by field and type.
VALUES = frozenset({
    ("metadata", "ObjectMeta"),
    ("strategy", "DeploymentStrategy"), ("updateStrategy", "DaemonSetUpdateStrategy"),
    ("updateStrategy", "StatefulSetUpdateStrategy"), ("resources", "ResourceRequirements"),
    ("resources", "VolumeResourceRequirements"), ("state", "ContainerState"), ("lastState", "ContainerState"),
    ("loadBalancer", "LoadBalancerStatus"), ("loadBalancer", "IngressLoadBalancerStatus"),
    ("nodeInfo", "NodeSystemInfo"), ("daemonEndpoints", "NodeDaemonEndpoints"),
    ("kubeletEndpoint", "DaemonEndpoint"), ("source", "EventSource"), ("template", "PodTemplateSpec"),
    ("endpoints", "Endpoints"),
})  # fmt: skip
POINTERS = frozenset({"ReplicationControllerSpec.template", "PodSpec.resources"})
ALWAYS_VALUES = frozenset({"spec", "status"})
"""The two halves of every kind (where they are objects) are values."""


@cache
def shape_of_kind(api_version: str, kind: str) -> Shape:
    """The shape of a built-in kind. Raises KeyError."""
    return _shape_of_definition(definition_of(api_version, kind).name)


@cache
def _shape_of_definition(name: str) -> Shape:
    found = definition(name)
    return Shape(
        MAP,
        is_atomic=found.map_type == "atomic",
        always=_always(found),
        load_fields=lambda: {key: shape_of(key, kind) for key, kind in found.fields.items()},
    )


def _always(found: Definition) -> frozenset[str]:
    return frozenset(key for key, kind in found.fields.items() if key in found.required or _is_value(found, key, kind))


def _is_value(found: Definition, key: str, kind: Type) -> bool:
    if kind.form != "object" or f"{found.short_name}.{key}" in POINTERS:
        return False
    return key in ALWAYS_VALUES or (key, kind.definition.rpartition(".")[2]) in VALUES


def shape_of(key: str, kind: Type) -> Shape:
    """The shape of the field ``key``."""
    if kind.form == "object":
        whole = _shape_of_definition(kind.definition)
        if kind.map_type and (kind.map_type == "atomic") != whole.is_atomic:
            return Shape(
                MAP, is_atomic=not whole.is_atomic, always=whole.always, load_fields=lambda: whole.fields
            )  # fmt: skip
        return whole
    if kind.form == "list":
        return _list_shape(kind)
    if kind.form == "map":
        return Shape(MAP, is_atomic=kind.map_type == "atomic", element=_element(kind))
    if kind.form == "any":
        return DEDUCED if kind.is_map else WHOLE
    return _scalar(SCALARS[kind.form])


def _list_shape(kind: Type) -> Shape:
    is_atomic = kind.list_type not in ("set", "map")
    keys = kind.list_keys if kind.list_type == "map" else ()
    defaults = {key: KEY_DEFAULTS[key] for key in keys if key in KEY_DEFAULTS}
    return Shape(LIST, is_atomic=is_atomic, element=_element(kind), keys=keys, key_defaults=defaults)


def _element(kind: Type) -> Shape:
    return shape_of("", kind.element) if kind.element is not None else Shape(ANY)


@cache
def _scalar(kind: str) -> Shape:
    return Shape(SCALAR, scalar=kind)
