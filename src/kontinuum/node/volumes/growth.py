"""Claims that have grown, decided: what the node says of a claim once its file system is as large as its volume.

As the kubelet does (``NodeExpandVolume``): until then the claim has its old capacity and waits, with the condition
FileSystemResizePending.
"""

from __future__ import annotations

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

OVER = ("FileSystemResizePending", "Resizing")


def news(claim: Object, volume: Object) -> Object | None:
    """The merge patch of the claim's status; None if it is told what it has."""
    status = claim.get("status") or {}
    given = (status.get("capacity") or {}).get("storage") or "0"
    size = volume["spec"]["capacity"]["storage"]
    if quantity.parse(given) >= quantity.parse(size):
        return None
    conditions = [one for one in status.get("conditions") or () if one["type"] not in OVER]
    return {
        "metadata": {"resourceVersion": claim["metadata"].get("resourceVersion")},
        "status": {"capacity": {"storage": size}, "conditions": conditions or None},
    }
