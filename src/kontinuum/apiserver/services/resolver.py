"""Where this server itself reaches a Service: it may run where no Service address leads anywhere. Pure.

Any ready endpoint will do; the Service's own address is the last resort, an ExternalName is a name for the DNS
(kube-aggregator's ``ServiceResolver``). All answers are ``HOST:PORT``.
"""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.foundation.errors import Refused

SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which an EndpointSlice belongs to a Service."""


class Unresolved(Refused):
    """Nobody stands behind the Service. The text is Kubernetes'."""


def places_of(service: Object, slices: Iterable[Object], port: int) -> list[str]:
    """At least one. ``slices`` are those of the Service or of its whole namespace. Raises Unresolved."""
    spec, name = service.get("spec") or {}, name_of(service)
    if spec.get("type") == "ExternalName":
        return [f"{spec.get('externalName', '')}:{port}"]
    own = port_of(service, port)
    if own is None:
        raise Unresolved(f'no service port {port} found for service "{name}"')
    found = ready_places(slices, name, own.get("name", ""))
    if found:
        return found
    address = spec.get("clusterIP")
    if address in (None, "", "None"):
        raise Unresolved(f'no endpoints available for service "{name}"')
    return [f"{bracketed(address)}:{port}"]


def port_of(service: Object, number: int) -> Object | None:
    """The Service's port of that number."""
    ports = (service.get("spec") or {}).get("ports") or ()
    return next((one for one in ports if one.get("port") == number), None)


def ready_places(slices: Iterable[Object], service: str, port_name: str) -> list[str]:
    """The endpoints of the Service that take requests."""
    return [
        f"{bracketed(endpoint['addresses'][0])}:{port['port']}"
        for one in slices
        if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == service
        for port in one.get("ports") or ()
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in one.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses")
    ]


def bracketed(address: str) -> str:
    """An address as URLs have it."""
    return f"[{address}]" if ":" in address else address
