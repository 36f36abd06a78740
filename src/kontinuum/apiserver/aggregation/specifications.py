"""OpenAPI documents of extension servers: the part that is theirs, joined with ours, and version 2 told as version 3.

Pure. Older servers know version 2 only, and clients that ask for version 3 (``kubectl explain``) shall find them too
(kube-openapi's ``aggregator`` and ``openapiconv``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver import openapi_v2_protobuf

V2, V3 = "#/definitions/", "#/components/schemas/"
SHARED = "#/parameters/"
GVK = "x-kubernetes-group-version-kind"
METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch"})
OF_PARAMETER = ("name", "in", "description", "required", "deprecated")
"""What stands beside the schema of a parameter in version 3; in version 2 the two are one."""


def own_part(document: Mapping[str, Any], group: str, version: str) -> Object:
    """Of a server's version 2: paths of the group version, and the definitions that these and its kinds need.

    Parameters that several operations share are written out, so that the part stands alone.
    """
    root, shared = f"/apis/{group}/{version}", document.get("parameters") or {}
    paths = {
        path: _inlined(item, shared)
        for path, item in (document.get("paths") or {}).items()
        if path.rstrip("/") == root or path.startswith(f"{root}/")
    }
    definitions: dict[str, Any] = document.get("definitions") or {}
    own = {name for name, one in definitions.items() if _is_of(one, group, version)}
    return {"paths": paths, "definitions": _needed(definitions, own | set(_references(paths)))}


def readable(content: bytes, group: str, version: str) -> Object | None:
    """As ``own_part``, of a document that may hold anything; None if it makes no sense to us.

    What one server gets wrong must not spoil the document about all of them.
    """
    try:
        part = own_part(orjson.loads(content), group, version)
        orjson.dumps(to_v3(part))
        openapi_v2_protobuf.encode({"swagger": "2.0", "info": {"title": "", "version": ""}, **part})
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None
    return part


def _is_of(definition: Any, group: str, version: str) -> bool:
    kinds = definition.get(GVK) if isinstance(definition, dict) else None
    return any(
        isinstance(one, dict) and (one.get("group"), one.get("version")) == (group, version)
        for one in (kinds if isinstance(kinds, list) else ())
    )


def _needed(definitions: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Those of ``names``, and all that they refer to."""
    found: dict[str, Any] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            waiting += _references(definitions[name])
    return found


def _references(value: Any) -> Iterator[str]:
    """The names of definitions that are referred to anywhere in ``value``."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(V2):
            yield reference.removeprefix(V2)
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _inlined(value: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_inlined(one, shared) for one in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(SHARED):
        return shared.get(reference.removeprefix(SHARED), {})
    return {key: _inlined(one, shared) for key, one in value.items()}


def merge_v2(ours: dict[str, Any], theirs: Object) -> None:
    """Add an extension server's ``definitions`` and ``paths`` to our document, in place.

    A definition that we have in another form gets a name of its own.
    """
    definitions: dict[str, Any] = theirs.get("definitions") or {}
    renamed = {name: _free(name, ours["definitions"]) for name, content in definitions.items()
               if ours["definitions"].get(name, content) != content}  # fmt: skip
    to_new = {V2 + name: V2 + new for name, new in renamed.items()}
    for name, content in definitions.items():
        ours["definitions"][renamed.get(name, name)] = _referring(content, to_new)
    for path, item in (theirs.get("paths") or {}).items():
        ours["paths"][path] = _referring(item, to_new)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number = 2
    while f"{name}_v{number}" in taken:
        number += 1
    return f"{name}_v{number}"


def _referring(value: Any, renamed: Mapping[str, str]) -> Any:
    """``value`` with its references following the new names."""
    if isinstance(value, list):
        return [_referring(one, renamed) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _referring(one, renamed) for key, one in value.items()}
    reference = made.get("$ref")
    if isinstance(reference, str):
        made["$ref"] = renamed.get(reference, reference)
    return made


def to_v3(part: Object) -> Object:
    """The document of a group version, made of what ``own_part`` has found."""
    paths = {path: _path_item(item) for path, item in part["paths"].items() if isinstance(item, dict)}
    content = {"paths": paths, "components": {"schemas": part["definitions"]}}
    renamed = {V2 + name: V3 + name for name in part["definitions"]}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": ""}, **_referring(content, renamed)}


def _path_item(item: Object) -> Object:
    made: Object = {
        method: _operation(operation)
        for method, operation in item.items()
        if method in METHODS and isinstance(operation, dict)
    }
    if item.get("parameters"):
        made["parameters"] = [_parameter(one) for one in item["parameters"] if one.get("in") != "body"]
    return made


def _operation(operation: Object) -> Object:
    consumed, produced = operation.get("consumes") or ["*/*"], operation.get("produces") or ["*/*"]
    made = {key: one for key, one in operation.items() if key not in ("consumes", "produces", "schemes", "parameters")}
    parameters = operation.get("parameters") or []
    body = next((one for one in parameters if one.get("in") == "body"), None)
    if others := [_parameter(one) for one in parameters if one.get("in") not in ("body", "formData")]:
        made["parameters"] = others
    if body is not None:
        made["requestBody"] = {"content": {media: {"schema": body.get("schema") or {}} for media in consumed}}
        if body.get("required"):
            made["requestBody"]["required"] = True
    responses = operation.get("responses") or {}
    made["responses"] = {code: _response(one, produced) for code, one in responses.items()}
    return made


def _parameter(parameter: Object) -> Object:
    beside = {key: parameter[key] for key in OF_PARAMETER if key in parameter}
    return {**beside, "schema": {key: one for key, one in parameter.items() if key not in OF_PARAMETER}}


def _response(response: Any, produced: list[str]) -> Object:
    described: Object = response if isinstance(response, dict) else {}
    made: Object = {"description": described.get("description") or ""}
    if described.get("schema"):
        made["content"] = {media: {"schema": described["schema"]} for media in produced}
    return made
