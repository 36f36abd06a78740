"""``proxy`` of pods, services and nodes: any HTTP request, to something that runs in the cluster, through this server.

    /api/v1/namespaces/NS/pods/[SCHEME:]NAME[:PORT]/proxy/PATH        the pod's address; by default its first port
    /api/v1/namespaces/NS/services/[SCHEME:]NAME[:PORT]/proxy/PATH    a ready endpoint of that port (or its name)
    /api/v1/nodes/[SCHEME:]NAME[:PORT]/proxy/PATH                     the node's own server; else the port of its host

Redirects within what is behind the proxy, and links in HTML pages, are rewritten so that they lead through it.
"""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import ClientError
from aiohttp.web_response import StreamResponse
from yarl import URL

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, NODES, PODS
from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver import replies
from kontinuum.apiserver.admission.requests import review_connect
from kontinuum.apiserver.authn.impersonation import PREFIX as IMPERSONATION
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.forwarding import SET_BY_US, Headers, add_origin, body_of, pass_back, passing
from kontinuum.apiserver.links import links_of
from kontinuum.apiserver.nodes import ADDRESS_TYPES, address_of
from kontinuum.apiserver.services.resolver import bracketed, ready_places

SCHEMES = ("", "http", "https")


@dataclass(frozen=True, slots=True)
class Target:
    """``[SCHEME:]NAME[:PORT]``; empty where nothing is said."""

    scheme: str
    name: str
    port: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the request goes. ``is_node``: to a node's own server, which wants to see our certificate."""

    base: str
    """``http://10.0.0.1:80``"""
    is_node: bool = False


async def proxy(context: Context, served: Served, call: Call) -> StreamResponse:
    """Whatever the other side answers. Raises ApiError 400, 403, 404, 503."""
    behind = path_behind(call.path, served.resource)
    await review_connect(context, served, call, {"path": behind} if behind else {})
    target = target_of(call.route.name, served.resource)
    place = await _place(context, served, call, target)
    if not behind and call.request.method in ("GET", "HEAD") and "Upgrade" not in call.request.headers:
        # A page's relative links would lead one level too high. Other methods bring no page, and a client that follows
        # a 301 with them may forget what it was sending.
        _, mark, query = call.request.raw_path.partition("?")
        moved = replies.headers(call.audit_id)
        moved["Location"] = f"{call.path}/{mark}{query}"
        return replies.small(b"", moved, 301)
    return await _forward(context, call, place, behind or "/")


async def _forward(context: Context, call: Call, place: Place, behind: str) -> StreamResponse:
    request = call.request
    _, mark, query = request.raw_path.partition("?")
    try:
        session = context.nodes.session() if place.is_node else context.nodes.plain()
        answer = await session.request(
            request.method,
            URL(f"{place.base}{behind}{mark}{query}", encoded=True),
            headers=_headers(call),
            data=body_of(request),
            allow_redirects=False,
            skip_auto_headers=SET_BY_US,
        )
    except (ClientError, OSError, TimeoutError) as error:
        problem = f"error trying to reach service: {error or type(error).__name__}"
        raise status.service_unavailable(problem) from error
    prefix = call.path.removesuffix(behind)
    async with answer:
        location = redirected(answer.headers.get("Location", ""), place.base, prefix)
        links = links_of(answer, lambda link: redirected(link, place.base, prefix))
        return await pass_back(answer, request, call.audit_id, location, links)


def _headers(call: Call) -> Headers:
    """The client's, without what has identified it here."""
    made = passing(call.request.headers, is_upgrade="Upgrade" in call.request.headers)
    for name in list(made):
        if name.lower() in ("authorization", "host") or name.lower().startswith(IMPERSONATION):
            made.popall(name, None)
    add_origin(made, call.request)
    made["X-Forwarded-Uri"] = call.path
    return made


def path_behind(path: str, resource: Resource) -> str:
    """What follows ``/proxy``, still percent-encoded: ``/a/b``, ``/``, or "" if nothing does."""
    # /api/v1/nodes/NAME/proxy, /api/v1/namespaces/NS/pods/NAME/proxy
    parts = path.split("/")[8 if resource.namespaced else 6 :]
    return "/" + "/".join(parts) if parts else ""


def target_of(text: str, resource: Resource) -> Target:
    """Raises ApiError 400 for a text that names nothing."""
    parts = text.split(":")
    if len(parts) == 1:
        found = Target("", parts[0], "")
    elif len(parts) == 2:
        found = Target("", parts[0], parts[1])
    else:
        found = Target(parts[0], ":".join(parts[1:-1]), parts[-1])
    if not found.name or ":" in found.name or found.scheme not in SCHEMES or (len(parts) == 2 and not found.port):
        raise status.bad_request(f'invalid {resource.singular} request "{text}"')
    return found


def redirected(location: str, base: str, prefix: str) -> str:
    """Where a redirect or a link leads for the client: through the proxy (``prefix``) if it stays at ``base``."""
    try:
        to, here = urlsplit(location), urlsplit(base)
    except ValueError:
        return location
    prefix = prefix.rstrip("/")
    if not location or (to.netloc and to.netloc != here.netloc) or not to.path.startswith("/"):
        return location
    # Who knows from ``X-Forwarded-Uri`` where it is has said so already.
    path = to.path if f"{to.path}/".startswith(f"{prefix}/") else prefix + to.path
    return to._replace(scheme="", netloc="", path=path).geturl()


def check_address(address: str) -> None:
    """Raises ApiError 400 for addresses at which this server's own machine would be reached."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        raise status.bad_request("address not allowed")


async def _place(context: Context, served: Served, call: Call, target: Target) -> Place:
    found = await context.find(served.resource, call.route.namespace, target.name)
    if found is None:
        raise status.not_found(served.resource, target.name)
    if served.resource == PODS:
        return pod_place(found, target)
    if served.resource == NODES:
        return node_place(found, target)
    slices = await context.list(ENDPOINTSLICES, call.route.namespace)
    return service_place(found, slices, target)


def pod_place(pod: Object, target: Target) -> Place:
    """Raises ApiError 400 for a pod without an address."""
    address = (pod.get("status") or {}).get("podIP") or ""
    if not address:
        raise status.bad_request("address not allowed")
    check_address(address)
    containers = (pod.get("spec") or {}).get("containers") or ()
    ports = [port["containerPort"] for one in containers for port in one.get("ports") or () if "containerPort" in port]
    port = target.port or (str(ports[0]) if ports else "")
    return Place(f"{target.scheme or 'http'}://{bracketed(address)}{f':{port}' if port else ''}")


def node_place(node: Object, target: Target) -> Place:
    """Raises ApiError 400, 503."""
    own = address_of(node)
    if not target.port or own.rpartition(":")[2] == target.port:
        return Place(own, is_node=True)
    addresses = {one.get("type"): one.get("address") for one in (node.get("status") or {}).get("addresses") or ()}
    address = next((addresses[kind] for kind in ADDRESS_TYPES if addresses.get(kind)), "")
    check_address(address)
    return Place(f"{target.scheme or 'http'}://{bracketed(address)}:{target.port}")


def service_place(service: Object, slices: list[Object], target: Target) -> Place:
    """Any ready endpoint. Raises ApiError 503."""
    name, ports = name_of(service), (service.get("spec") or {}).get("ports") or []
    wanted = target.port or (str(ports[0].get("port")) if len(ports) == 1 else "")
    port = next((one for one in ports if wanted in (one.get("name") or "", str(one.get("port")))), None)
    if port is None:
        raise status.service_unavailable(f'no service port "{wanted}" found for service "{name}"')
    places = ready_places(slices, name, port.get("name") or "")
    if not places:
        raise status.service_unavailable(f'no endpoints available for service "{name}"')
    place = random.choice(places)
    check_address(place.rpartition(":")[0].strip("[]"))
    return Place(f"{target.scheme or 'http'}://{place}")
