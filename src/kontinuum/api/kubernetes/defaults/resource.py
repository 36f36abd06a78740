"""Defaults of resource.k8s.io."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object


def default_device_claim(spec: Object) -> None:
    """The ``spec`` of a ResourceClaim, or of the claim in a template."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is not None:
                _default_request(one)


def _default_request(request: Object) -> None:
    if not request.get("allocationMode"):
        request["allocationMode"] = "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    for toleration in request.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"
