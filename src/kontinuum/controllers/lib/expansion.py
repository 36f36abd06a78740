"""Claims that were asked to grow, decided (``expand_controller.go``)."""

from __future__ import annotations

from kontinuum.api.kontinuum.host_path import PROVISIONER
from kontinuum.api.kubernetes.binding import PROVISIONED_BY
from kontinuum.api.kubernetes.claims import size_of
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, uid_of
from kontinuum.controllers.lib.notices import Notice

EXTERNAL = "waiting for an external controller to expand this PVC"


def wants_to_grow(claim: Object) -> bool:
    """A bound claim that asks for more than it was given."""
    status = claim.get("status") or {}
    given = (status.get("capacity") or {}).get("storage") or "0"
    return status.get("phase") == "Bound" and quantity.parse(size_of(claim)) > quantity.parse(given)


def notices(claim: Object, volume: Object | None) -> list[Notice]:
    """What to tell of a claim. Growing itself is the business of whoever made the volume, also in Kubernetes."""
    if volume is None or not wants_to_grow(claim) or annotations_of(volume).get(PROVISIONED_BY) == PROVISIONER:
        return []
    if (volume["spec"].get("claimRef") or {}).get("uid") != uid_of(claim):
        return []  # Not its own volume (yet): nothing of it may grow.
    return [Notice("Normal", "ExternalExpanding", EXTERNAL)]
