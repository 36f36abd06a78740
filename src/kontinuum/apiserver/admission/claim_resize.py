"""PersistentVolumeClaimResize: only a bound claim grows, and only if its StorageClass allows it."""

from __future__ import annotations

from kontinuum.api.kubernetes.claims import class_of, size_of
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, STORAGECLASSES
from kontinuum.api.machinery import quantity, status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.admission.chain import Attributes, Base, Reader

UNBOUND = "only bound persistent volume claims can be expanded"
FIXED = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class ClaimResize(Base):
    """See the module."""

    concerns = frozenset({PERSISTENTVOLUMECLAIMS})

    async def validate(self, attributes: Attributes, reader: Reader) -> None:
        claim, old = attributes.obj, attributes.old
        if attributes.resource != PERSISTENTVOLUMECLAIMS or attributes.subresource or claim is None or old is None:
            return
        if quantity.parse(size_of(claim)) <= quantity.parse(size_of(old)):
            return
        problem = UNBOUND if (old.get("status") or {}).get("phase") != "Bound" else ""
        if not problem and not await _may_grow(claim, old, reader):
            problem = FIXED
        if problem:
            raise status.forbidden(PERSISTENTVOLUMECLAIMS, attributes.name, problem)


async def _may_grow(claim: Object, old: Object, reader: Reader) -> bool:
    name = class_of(claim)
    if not name or class_of(old) != name:
        return False
    found = await reader.find(STORAGECLASSES, "", name)
    return bool(found and found.get("allowVolumeExpansion"))
