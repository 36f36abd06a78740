"""A custom resource in the OpenAPI documents: its definitions for version 3, and what of them version 2 can say.

Version 2 knows neither logic nor nullable values, and kubectl reads an object with properties as one that has no
others; so whatever keeps unknown fields is published without properties there (kube-openapi's ``ToStructuralOpenAPIV2``
and apiextensions-apiserver's ``openapi/builder``).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kontinuum.api.kubernetes.schema import texts
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
OBJECT_META, LIST_META = f"{META}.ObjectMeta", f"{META}.ListMeta"
LOGIC = ("allOf", "anyOf", "oneOf", "not", "default")
STRUCTURE = ("properties", "items", "additionalProperties", "type", "required")


def definition_name(resource: Resource) -> str:
    """``com.example.stable.v1.CronTab``."""
    return ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))


def definitions_of(resource: Resource, source: Object | None, *, version: int) -> dict[str, Object]:
    """The schemas of a resource and of its list, by name. ``version`` is OpenAPI's; ``$ref`` holds a bare name."""
    name = definition_name(resource)
    own = _schema(source, version=version)
    own["x-kubernetes-group-version-kind"] = [_gvk(resource, resource.kind)]
    items = {"type": "array", "description": f"List of {resource.plural}. More info: {LISTS}", "items": {"$ref": name}}
    listed: Object = {
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_properties(),
            "items": items,
            "metadata": {"description": _text("ListMeta"), "$ref": LIST_META},
        },
        "x-kubernetes-group-version-kind": [_gvk(resource, resource.list_kind)],
    }
    return {name: own, f"{name.removesuffix(resource.kind)}{resource.list_kind}": listed}


LISTS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"


def _schema(source: Object | None, *, version: int) -> Object:
    """The root: with properties only if it has no others.

    In version 2 a root that keeps everything says nothing, as in Kubernetes: kubectl would forbid what is not named.
    """
    if source is None or (version == 2 and source.get("x-kubernetes-preserve-unknown-fields")):
        return {"type": "object"}
    found: Object = _published(source, version=version)
    found.setdefault("properties", {})
    found["properties"] = {**found["properties"], **_resource_properties()}
    return found


def _published(source: Any, *, version: int) -> Any:
    if not isinstance(source, dict):
        return source
    found = dict(source)
    if version == 2:
        _simplify(found, source)
    if isinstance(found.get("properties"), dict):
        found["properties"] = {key: _published(one, version=version) for key, one in found["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(found.get(name), dict):
            found[name] = _published(found[name], version=version)
    if source.get("x-kubernetes-embedded-resource") and (version == 3 or "properties" in found):
        found["properties"] = {**(found.get("properties") or {}), **_resource_properties()}
    return found


def _simplify(found: Object, source: Object) -> None:
    for name in LOGIC:
        found.pop(name, None)
    nullable, open_ended = found.pop("nullable", False), source.get("x-kubernetes-preserve-unknown-fields")
    if nullable or open_ended:
        for name in STRUCTURE if nullable else STRUCTURE[:3]:
            found.pop(name, None)
    # An object of which nothing is known is no object to kubectl, which cannot have null as a field of one.
    untyped = ("object", "array") if open_ended else ("array",) if "items" not in found else ()
    if source.get("x-kubernetes-int-or-string") or found.get("type") in untyped:
        found.pop("type", None)
    may_be_null = {key for key, one in (source.get("properties") or {}).items() if one.get("nullable")}
    required = [name for name in found.get("required") or () if name not in may_be_null]
    found.pop("required", None)
    if required:
        found["required"] = required


def _resource_properties() -> Object:
    metadata = {"description": "Standard object's metadata. More info: "
                f"{LISTS}#metadata", "$ref": OBJECT_META}  # fmt: skip
    return {**_type_properties(), "metadata": metadata}


def _type_properties() -> Object:
    return {name: {"type": "string", "description": _text("DeleteOptions", name)} for name in ("apiVersion", "kind")}


@cache
def _text(definition: str, field: str = "") -> str:
    """What Kubernetes says of a field. Kept, because all of its prose is unpacked for each look."""
    return (texts().get(f"{META}.{definition}") or {}).get(field) or ""


def _gvk(resource: Resource, kind: str) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": kind}
