"""Claims that have grown, decided: what the node says of a claim once its file system is as large as its volume.

As the kubelet does (``NodeExpandVolume``): until then the claim has its old capacity and waits, with the condition
FileSystemResizePending; beside it NodeResizeError says why, once it has been tried in vain.
"""

from __future__ import annotations

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339

FAILED = "NodeResizeError"
OVER = ("FileSystemResizePending", "Resizing", FAILED)


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


def bad_news(claim: Object, why: str, now: float) -> Object | None:
    """The merge patch of the status of a claim whose volume could not be enlarged; None if it is told already."""
    known = (claim.get("status") or {}).get("conditions") or ()
    message = f"failed to expand pvc with {why}"
    if any(one["type"] == FAILED and one.get("message") == message for one in known):
        return None
    failed = {"type": FAILED, "status": "True", "lastTransitionTime": rfc3339(now), "message": message}
    return {
        "metadata": {"resourceVersion": claim["metadata"].get("resourceVersion")},
        "status": {"conditions": [*(one for one in known if one["type"] != FAILED), failed]},
    }
