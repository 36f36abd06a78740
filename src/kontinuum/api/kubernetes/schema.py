"""The structure of every Kubernetes kind: types, list and patch metadata, by group, version and kind.

The facts come from the file that the build hook makes (``hatch_build.py``). Only the definitions that somebody asks
for are unpacked and kept: one served kind costs some 50 KB, the other 750 definitions nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import orjson

from kontinuum.foundation.errors import Broken

GENERATED = Path(__file__).parent / "generated"

# Definitions that are one value on the wire and not an object with named fields.
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "micro-time",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}

FREE_OBJECTS = (
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
)
"""Objects of any structure."""


class SchemasMissing(Broken):
    """The generated file is not there: the package was not installed."""


@dataclass(slots=True, eq=False)
class Type:
    """The type of one field, list element or map value."""

    form: str
    """``string bool int32 int64 double bytes time micro-time quantity int-or-string any object list map``."""
    definition: str = ""
    """For ``object``: the definition's name."""
    element: Type | None = None
    """For ``list`` and ``map``: what is in it."""
    strategies: tuple[str, ...] = ()
    """Strategic merge: ``merge``, ``replace``, ``retainKeys``."""
    merge_key: str = ""
    """Strategic merge of a list of objects: the field that names an element."""
    list_type: str = ""
    """Server-side apply: ``atomic``, ``set`` or ``map``."""
    list_keys: tuple[str, ...] = ()
    """Server-side apply: the fields that name an element of a ``map`` list."""
    map_type: str = ""
    """Server-side apply: ``atomic`` or ``granular``, where the field says otherwise than its type."""
    is_map: bool = False
    """For ``any``: always an object."""

    @property
    def fields(self) -> dict[str, Type]:
        """For ``object``: its fields. Empty for anything else."""
        return definition(self.definition).fields if self.definition else {}


@dataclass(slots=True, eq=False)
class Definition:
    """One named object type, e.g. ``io.k8s.api.core.v1.PodSpec``."""

    name: str
    fields: dict[str, Type] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    map_type: str = ""
    """Server-side apply: ``atomic`` if one manager owns the whole object."""

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def go_name(self) -> str:
        """``v1.PodSpec``, as error messages of a real API server name it."""
        return ".".join(self.name.split(".")[-2:])


_loaded: dict[str, Definition] = {}


def definition(name: str) -> Definition:
    """The definition called ``name``. Raises KeyError if there is none, SchemasMissing if nothing was generated."""
    found = _loaded.get(name)
    if found is None:
        _load_with_references(name)
        found = _loaded[name]
    return found


def definition_of(api_version: str, kind: str) -> Definition:
    """The definition of a kind: ``definition_of("apps/v1", "Deployment")``. Raises KeyError."""
    return definition(_kinds()[api_version, kind])


def definition_name(api_version: str, kind: str) -> str:
    """The name of a kind's definition, without reading it. Raises KeyError."""
    return _kinds()[api_version, kind]


def is_known(api_version: str, kind: str) -> bool:
    return (api_version, kind) in _kinds()


def json_schemas(names: set[str] | None = None) -> dict[str, dict[str, Any]]:
    """The definitions as Kubernetes' OpenAPI publishes them, without prose; ``$ref`` holds a bare name.

    With ``names``, only these and what they refer to.
    """
    packed = _packed()
    if names is None:
        return {name: orjson.loads(raw) for name, raw in packed.items()}
    found: dict[str, dict[str, Any]] = {}
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found[name] = orjson.loads(packed[name])
        waiting |= _references(found[name]) - found.keys()
    return found


def texts() -> dict[str, dict[str, str]]:
    """The prose of every definition: field name → description; the key "" describes the definition itself."""
    found: dict[str, dict[str, str]] = orjson.loads(_read("texts"))
    return found


def _read(file: str) -> bytes:
    try:
        return zlib.decompress((GENERATED / f"{file}.json.zlib").read_bytes())
    except FileNotFoundError as missing:
        raise SchemasMissing(
            f"{missing.filename} was not generated; install the package with `pip install -e .` (or build its wheel)"
        ) from missing


def _packed() -> dict[str, bytes]:
    packed = msgspec.json.decode(_read("schemas"), type=dict[str, msgspec.Raw])
    return {name: bytes(raw) for name, raw in packed.items()}


@cache
def _kinds() -> dict[tuple[str, str], str]:
    """(apiVersion, kind) → definition name, of every definition that is one kind (DeleteOptions is many)."""
    found = {}
    for name, raw in _packed().items():
        if b"x-kubernetes-group-version-kind" not in raw:
            continue
        for gvk in orjson.loads(raw)["x-kubernetes-group-version-kind"]:
            group, version = gvk["group"], gvk["version"]
            found[f"{group}/{version}" if group else version, gvk["kind"]] = name
    return found


def _references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        here = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
        return here.union(*(_references(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_references(value) for value in schema))
    return set()


def _load_with_references(name: str) -> None:
    """Unpacking costs 3 ms whatever is wanted, so everything that ``name`` can reach is taken at once."""
    for found, schema in json_schemas({name}).items():
        if found not in _loaded:
            fields = {key: _type(one) for key, one in (schema.get("properties") or {}).items()}
            required = frozenset(schema.get("required") or ())
            _loaded[found] = Definition(found, fields, required, schema.get("x-kubernetes-map-type", ""))


def _type(schema: dict[str, Any]) -> Type:
    found = _bare_type(schema)
    found.strategies = tuple(filter(None, schema.get("x-kubernetes-patch-strategy", "").split(",")))
    found.merge_key = schema.get("x-kubernetes-patch-merge-key", "")
    found.list_type = schema.get("x-kubernetes-list-type", "")
    found.list_keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    found.map_type = schema.get("x-kubernetes-map-type", "")
    return found


def _bare_type(schema: dict[str, Any]) -> Type:
    reference = schema.get("$ref")
    if reference is not None:
        if reference in SPECIAL:
            return Type(SPECIAL[reference], is_map=reference in FREE_OBJECTS)
        return Type("object", definition=reference)
    form, shape = schema.get("type"), schema.get("format")
    match form:
        case "array":
            return Type("list", element=_bare_type(schema["items"]))
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return Type("map", element=_bare_type(schema["additionalProperties"]))
        case "string":
            return Type("bytes" if shape == "byte" else "string")
        case "integer":
            return Type("int64" if shape == "int64" else "int32")
        case "number":
            return Type("double")
        case "boolean":
            return Type("bool")
        case _:
            return Type("any")
