"""Can an extension server be asked? Pure (kube-aggregator's ``remote_available_controller.go``).

service ─▶ its port ─▶ its endpoints ─▶ a ready one ─▶ does it tell what it serves?
   │          │             │              │                  │              └▶ Passed
   ▼          ▼             ▼              ▼                  ▼
Service-   Service-     Endpoints-      Missing-          FailedDiscoveryCheck
NotFound   PortError    NotFound        Endpoints
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.aggregation.extensions import Extension
from kontinuum.apiserver.services.resolver import SERVICE_NAME, port_of, ready_places


class Verdict(NamedTuple):
    """The condition ``Available``: status, reason, message."""

    status: str
    reason: str
    message: str


PASSED = Verdict("True", "Passed", "all checks passed")
LOCAL = Verdict("True", "Local", "Local APIServices are always available")


def failed_discovery(problem: str) -> Verdict:
    return Verdict("False", "FailedDiscoveryCheck", problem)


def missing(extension: Extension, service: Object | None, slices: Sequence[Object]) -> Verdict | None:
    """Why nobody can be asked; None if somebody can. ``slices`` are those of the Service's namespace."""
    named = f'service/{extension.service} in "{extension.namespace}"'
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{named} is not present")
    if (service.get("spec") or {}).get("type", "ClusterIP") != "ClusterIP":
        return None  # Others are reached in ways that only trying can tell.
    port = port_of(service, extension.port)
    if port is None:
        return Verdict("False", "ServicePortError", f"{named} is not listening on port {extension.port}")
    own = [one for one in slices if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == extension.service]
    if not own:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {named}")
    name = port.get("name") or ""
    if not ready_places(own, extension.service, name):
        problem = f'endpointslices for {named} have no addresses with port name "{name}"'
        return Verdict("False", "MissingEndpoints", problem)
    return None
