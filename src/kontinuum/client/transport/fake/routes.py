"""Which resource, namespace, name and subresource a URL path means, and what discovery says about all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import no_such_path

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a path points at; empty strings for what it does not name."""

    resource: Resource
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def parse(path: str, resources: Sequence[Resource]) -> Target:
    """The target of ``/api/v1/...`` or ``/apis/group/version/...``. Raises the API's 404."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_path()
    namespace = ""
    # A namespace's own subresources look like a namespaced collection: /api/v1/namespaces/x/finalize.
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("finalize", "status"):
        namespace, rest = rest[1], rest[2:]
    name, subresource = (*rest[1:], "", "")[:2]
    for resource in resources:
        if rest and (resource.group, resource.version, resource.plural) == (group, version, rest[0]):
            return Target(resource, namespace, name, subresource)
    raise no_such_path()


def discovery(path: str, resources: Sequence[Resource]) -> Object | None:
    """The discovery document under ``path``, or None if it is no discovery path."""
    if path.count("/") > 3:  # as /apis/apps/v1/deployments, and most requests
        return None
    groups = sorted({(r.group, r.version) for r in resources if r.group})
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in groups]}
    for group, version in [("", "v1"), *groups]:
        api_version = f"{group}/{version}" if group else version
        if path == (f"/apis/{api_version}" if group else f"/api/{api_version}"):
            mine = [_api_resource(r) for r in resources if (r.group, r.version) == (group, version)]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": mine}
    return None


def _group(group: str, version: str) -> Object:
    preferred = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [preferred], "preferredVersion": preferred}


def _api_resource(resource: Resource) -> Object:
    return {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
