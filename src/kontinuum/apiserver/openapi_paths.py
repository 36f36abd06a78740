"""The operations on one resource, as OpenAPI path items of version 2 or 3. Parameters: those clients look for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.discovery import BODIES, VerbsOf

# verb on many, verb on one → HTTP method. "list" and "get" share GET, on different paths.
METHODS_OF_MANY = {"list": "get", "create": "post", "deletecollection": "delete"}
METHODS_OF_ONE = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}
ACTIONS = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}
WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")
PARAMETERS = {
    "list": ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "watch"),
    "deletecollection": ("labelSelector", "fieldSelector", "dryRun", "propagationPolicy"),
    "get": ("pretty",),
    "create": WRITE_PARAMETERS,
    "update": WRITE_PARAMETERS,
    "patch": (*WRITE_PARAMETERS, "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"),
}
TYPES = {
    "limit": "integer",
    "gracePeriodSeconds": "integer",
    "watch": "boolean",
    "force": "boolean",
    "orphanDependents": "boolean",
}
PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


def paths_of(resource: Resource, verbs_of: VerbsOf, *, version: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, path item) of the resource's collection, object and subresources."""
    namespace = "{namespace}" if resource.namespaced else ""
    verbs = set(verbs_of(resource, ""))
    if resource.namespaced:
        yield resource.path(), _item(resource, "", verbs & {"list"}, METHODS_OF_MANY, "", version)
    collection = resource.path(namespace)
    yield collection, _item(resource, "", verbs, METHODS_OF_MANY, collection, version)
    one = resource.path(namespace, "{name}")
    yield one, _item(resource, "", verbs - {"create"}, METHODS_OF_ONE, one, version)
    for subresource in resource.subresources:
        below = resource.path(namespace, "{name}", subresource)
        yield below, _item(resource, subresource, set(verbs_of(resource, subresource)), METHODS_OF_ONE, below, version)


def _item(
    resource: Resource, subresource: str, verbs: set[str], methods: dict[str, str], path: str, version: int
) -> dict[str, Any]:
    in_path = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
    item: dict[str, Any] = {
        method: _operation(resource, subresource, verb, version, everywhere=not in_path and resource.namespaced)
        for verb, method in methods.items()
        if verb in verbs
    }
    if in_path:
        item["parameters"] = [_parameter(name, "path", version) for name in in_path]
    return item


def _operation(resource: Resource, subresource: str, verb: str, version: int, *, everywhere: bool) -> dict[str, Any]:
    body = BODIES.get(subresource)
    group, kind_version = (body.group, body.version) if body and body.group else (resource.group, resource.version)
    operation: dict[str, Any] = {
        "operationId": _operation_id(resource, subresource, verb, everywhere=everywhere),
        "tags": [f"{resource.group.partition('.')[0] or 'core'}_{resource.version}"],
        "parameters": [_parameter(name, "query", version) for name in PARAMETERS[verb]],
        "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
        "x-kubernetes-group-version-kind": {
            "group": group,
            "version": kind_version,
            "kind": body.kind if body else resource.kind,
        },
    }
    if version == 2 and verb == "patch":
        operation["consumes"] = list(PATCH_TYPES)
    return operation


def _operation_id(resource: Resource, subresource: str, verb: str, *, everywhere: bool) -> str:
    """``readAppsV1NamespacedDeploymentScale``: generated clients name their functions by it."""
    words = [ACTIONS.get(verb, verb), (resource.group.partition(".")[0] or "core").capitalize()]
    words += [resource.version.capitalize(), "Namespaced" if resource.namespaced and not everywhere else ""]
    words += [resource.kind, subresource.capitalize(), "ForAllNamespaces" if everywhere else ""]
    return "".join(words)


def _parameter(name: str, place: str, version: int) -> dict[str, Any]:
    kind = TYPES.get(name, "string")
    found: dict[str, Any] = {"name": name, "in": place}
    if place == "path":
        found["required"] = True
    return found | ({"type": kind, "uniqueItems": True} if version == 2 else {"schema": {"type": kind}})
