"""Which function answers which verb on which resource and subresource.

A resource that is not stored (``Resource.stored`` False: reviews, bindings) has its verbs in ``UNSTORED``: one line per
resource, and nothing else is needed to serve it. Its function is called as every other, with a ``Served`` whose cache
stays empty. Resources and subresources without any function are not told of in discovery.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache

from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.machinery import status
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.components import get_component, list_components
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.port_forward import port_forward
from kontinuum.apiserver.reviews.access import (
    review_local_subject,
    review_own_access,
    review_own_rules,
    review_subject,
)
from kontinuum.apiserver.reviews.identities import review_self, review_token
from kontinuum.apiserver.routes import Route
from kontinuum.apiserver.streams import connect, log
from kontinuum.apiserver.subresources.binding import bind, bind_named
from kontinuum.apiserver.subresources.eviction import evict
from kontinuum.apiserver.subresources.finalize import finalize
from kontinuum.apiserver.subresources.proxy import proxy
from kontinuum.apiserver.subresources.scale import get_scale, patch_scale, update_scale
from kontinuum.apiserver.subresources.token import request_token
from kontinuum.apiserver.usage import kinds as usage
from kontinuum.apiserver.usage.serving import get_usage, list_usage
from kontinuum.apiserver.verbs.create import create
from kontinuum.apiserver.verbs.delete import delete
from kontinuum.apiserver.verbs.deletecollection import deletecollection
from kontinuum.apiserver.verbs.get import get
from kontinuum.apiserver.verbs.list import list_
from kontinuum.apiserver.verbs.patch import patch
from kontinuum.apiserver.verbs.update import update
from kontinuum.apiserver.verbs.watch import watch

MOST_PATHS = 4096
"""Resources and subresources whose functions are remembered."""
Verb = Callable[[Context, Served, Call], Awaitable[StreamResponse]]

OBJECT: dict[str, Verb] = {
    "get": get, "list": list_, "watch": watch, "create": create, "update": update, "patch": patch,
    "delete": delete, "deletecollection": deletecollection,
}  # fmt: skip
# Namespaces are emptied before they go, each by itself.
ONE_BY_ONE = {verb: function for verb, function in OBJECT.items() if verb != "deletecollection"}
STATUS: dict[str, Verb] = {"get": get, "update": update, "patch": patch}
SCALE: dict[str, Verb] = {"get": get_scale, "update": update_scale, "patch": patch_scale}
STREAM: dict[str, Verb] = {"get": connect, "create": connect}
PROXY: dict[str, Verb] = dict.fromkeys(("get", "create", "update", "patch", "delete"), proxy)
SUBRESOURCES: dict[tuple[Resource, str], dict[str, Verb]] = {
    (r.PODS, "attach"): STREAM,
    (r.PODS, "ephemeralcontainers"): STATUS,
    (r.PODS, "exec"): STREAM,
    (r.PODS, "portforward"): {"get": port_forward, "create": port_forward},
    (r.PODS, "proxy"): PROXY,
    (r.PODS, "resize"): STATUS,
    (r.NODES, "proxy"): PROXY,
    (r.SERVICES, "proxy"): PROXY,
    (r.PODS, "log"): {"get": log},
    (r.PODS, "binding"): {"create": bind},
    (r.PODS, "eviction"): {"create": evict},
    (r.NAMESPACES, "finalize"): {"update": finalize},
    (r.CERTIFICATESIGNINGREQUESTS, "approval"): STATUS,
    (r.SERVICEACCOUNTS, "token"): {"create": request_token},
}
WITHOUT_TABLE = frozenset({"attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "token"})
UNSTORED: dict[Resource, dict[str, Verb]] = {
    r.BINDINGS: {"create": bind_named},
    r.COMPONENTSTATUSES: {"get": get_component, "list": list_components},
    usage.NODES: {"get": get_usage, "list": list_usage},
    usage.PODS: {"get": get_usage, "list": list_usage},
    r.TOKENREVIEWS: {"create": review_token},
    r.SELFSUBJECTREVIEWS: {"create": review_self},
    r.SUBJECTACCESSREVIEWS: {"create": review_subject},
    r.LOCALSUBJECTACCESSREVIEWS: {"create": review_local_subject},
    r.SELFSUBJECTACCESSREVIEWS: {"create": review_own_access},
    r.SELFSUBJECTRULESREVIEWS: {"create": review_own_rules},
}
"""Whoever owns a review adds it here: ``r.TOKENREVIEWS: {"create": review_token}``."""


@lru_cache(maxsize=MOST_PATHS)
def functions(resource: Resource, subresource: str) -> Mapping[str, Verb]:
    """The functions of a resource, or of one of its subresources, by verb."""
    if not subresource:
        if not resource.stored:
            return UNSTORED.get(resource, {})
        return ONE_BY_ONE if resource == r.NAMESPACES else OBJECT
    if subresource == "status":
        return STATUS
    if subresource == "scale":
        return SCALE
    return SUBRESOURCES.get((resource, subresource), {})


def verbs(resource: Resource, subresource: str) -> Iterable[str]:
    """The verbs that are really answered; what discovery tells."""
    return functions(resource, subresource).keys()


def verb_of(call: Call) -> Verb:
    """The function that answers the call. Raises ApiError 405."""
    route = call.route
    # What a proxy does is the same for every method, and OPTIONS has no verb.
    found = functions(route.resource, route.subresource).get(call.verb or "get")
    # Objects are created in, and deleted together from, one namespace.
    is_everywhere = route.resource.namespaced and not route.namespace
    if found is None or (is_everywhere and call.verb in ("create", "deletecollection")):
        raise status.method_not_allowed(route.resource, call.verb)
    return found


def has_table(route: Route) -> bool:
    """Whether what is answered has columns. Reviews and what is done to an object (eviction, token) have none."""
    is_read = "get" in functions(route.resource, "")
    return is_read and route.subresource not in WITHOUT_TABLE
