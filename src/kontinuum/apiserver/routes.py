"""From a method and a path to what is asked: resource, verb, namespace, name, subresource. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from kontinuum.api.machinery import status
from kontinuum.api.machinery.resources import Resource

PROXY = "proxy"
OPTIONS = "OPTIONS"
"""The method for which Kubernetes has no verb: it is for what stands behind a proxy alone."""
VERBS_OF_ONE = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
VERBS_OF_MANY = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}


class Route(NamedTuple):
    """What a resource path names. Empty strings where the path says nothing."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    is_watch: bool = False
    """The path itself says so (``/api/v1/watch/pods``), as paths did before there was a parameter for it."""

    def verb(self, method: str, *, watch: bool = False) -> str:
        """Kubernetes' verb of an HTTP method on this path, "" for OPTIONS through a proxy. Raises ApiError 405."""
        if self.is_watch:
            if method != "GET":
                raise status.method_not_allowed(self.resource, method.lower())
            return "watch"
        if method == OPTIONS and self.subresource == PROXY:
            return ""
        # POST to one object makes sense only below it (binding, eviction, exec).
        verbs = VERBS_OF_ONE if self.name else VERBS_OF_MANY
        verb = verbs.get(method, "")
        if not verb or (verb == "create" and self.name and not self.subresource):
            raise status.method_not_allowed(self.resource, verb or method.lower())
        return "watch" if verb == "list" and watch else verb


class RouteTable:
    """The resources that are served now. Custom resources come and go, so it can be changed."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._groups: dict[tuple[str, str], dict[str, Resource]] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._groups.setdefault((resource.group, resource.version), {})[resource.plural] = resource

    def remove(self, resource: Resource) -> None:
        group = (resource.group, resource.version)
        served = self._groups.get(group, {})
        served.pop(resource.plural, None)
        if not served:
            self._groups.pop(group, None)

    def resource(self, group: str, version: str, plural: str) -> Resource | None:
        return self._groups.get((group, version), {}).get(plural)

    def resources(self) -> list[Resource]:
        return [resource for group in self._groups.values() for resource in group.values()]

    def find(self, path: str) -> Route | None:
        """The route of a (percent-encoded) URL path, or None if no served resource lives there."""
        parts = path.split("/")[1:]
        if parts[-1] == "":
            parts.pop()
        if len(parts) >= 3 and parts[0] == "api":
            served = self._groups.get(("", parts[1]))
            rest = parts[2:]
        elif len(parts) >= 4 and parts[0] == "apis":
            served = self._groups.get((parts[1], parts[2]))
            rest = parts[3:]
        else:
            return None
        if served is None:
            return None
        if "%" in path:
            rest = [unquote(part) for part in rest]
        if rest[0] == "watch" and len(rest) > 1:
            return _watched(served, rest[1:])
        return _below(served, rest)


def _watched(served: dict[str, Resource], rest: list[str]) -> Route | None:
    """``rest`` is the path below ``watch``: a collection, or the one object of it that is watched."""
    route = _below(served, rest)
    if route is None or route.subresource or not route.resource.stored:
        return None
    return route._replace(is_watch=True)


def _below(served: dict[str, Resource], rest: list[str]) -> Route | None:
    """``rest`` is the path below the group version, e.g. ``["namespaces", "default", "pods", "x", "status"]``."""
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3:
        own = served.get("namespaces")
        if own is None or rest[2] not in own.subresources:
            namespace, rest = rest[1], rest[2:]
            if not namespace:
                return None
    resource = served.get(rest[0])
    if rest[2:3] == [PROXY]:
        # What follows is a path of whatever is behind it.
        rest = rest[:3]
    if resource is None or len(rest) > 3 or "" in rest or bool(namespace) > resource.namespaced:
        return None
    name = rest[1] if len(rest) > 1 else ""
    if name and resource.namespaced and not namespace:
        return None
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        return None
    return Route(resource, namespace, name, subresource)
