"""From a method and a path to the question that they are. Pure (apiserver's ``RequestInfoFactory``).

Every path that looks like a resource's is a question about that resource, whether it is served or not: nobody learns by
trying what is served here.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery.selectors import parse_fields
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.authz.authorizer import Attributes
from kontinuum.apiserver.routes import Route

METHODS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_SELECTING = frozenset({"list", "watch", "deletecollection"})
_FALSE = frozenset({"", "false", "0", "f", "F", "FALSE", "False"})


def attributes_of(
    user: User, method: str, path: str, query: Mapping[str, str], route: Route | None = None
) -> Attributes:
    """What a request asks. ``route`` is what the path was found to be, if anything; then it need not be read again."""
    if route is not None:
        resource = route.resource
        asked = Attributes(
            user, METHODS.get(method, ""), resource.group, resource.plural, route.subresource, route.namespace,
            route.name, resource.version,
        )  # fmt: skip
        if resource == NAMESPACES:
            # A namespace is in itself, so that a Role in it may speak of it.
            asked.namespace = route.name
    else:
        found = _resource_path(user, METHODS.get(method, ""), path)
        if found is None:
            return Attributes(user, method.lower(), path=path)
        asked = found
    if route is not None and route.is_watch:
        asked.verb = "watch"
    elif not asked.name:
        if asked.verb == "get":
            asked.verb = "watch" if query.get("watch", "") not in _FALSE else "list"
        elif asked.verb == "delete":
            asked.verb = "deletecollection"
    if query and asked.verb in _SELECTING:
        _select(asked, query)
    return asked


def _select(asked: Attributes, query: Mapping[str, str]) -> None:
    asked.label_selector = query.get("labelSelector", "")
    asked.field_selector = query.get("fieldSelector", "")
    if not asked.name and asked.verb != "deletecollection" and "metadata.name" in asked.field_selector:
        asked.name = _exact_name(asked.field_selector)


def _exact_name(selector: str) -> str:
    """The one name that a field selector leaves, "" if there may be others."""
    try:
        requirements = parse_fields(selector).requirements
    except ApiError:
        return ""
    names = [one.values[0] for one in requirements if one.key == "metadata.name" and one.operator == "="]
    is_segment = len(names) == 1 and names[0] not in (".", "..") and not set("/%") & set(names[0])
    return names[0] if is_segment else ""


def _resource_path(user: User, verb: str, path: str) -> Attributes | None:
    """None for a path that cannot be a resource's."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return None
    group = ""
    if parts[0] == "apis":
        if len(parts) < 4:
            return None
        group, version, *rest = parts[1:]
    else:
        version, *rest = parts[1:]
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        verb, *rest = rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    return Attributes(user, verb, group, resource, subresource, namespace, name, version)
