"""How objects end: preconditions, grace, finalizers, propagation. Pure (apiserver's ``registry/rest/delete.go``).

             delete                       last finalizer removed, grace over
live ───────────────────▶ terminating ───────────────────────────────────────▶ gone
  │                         (deletionTimestamp, deletionGracePeriodSeconds)      ▲
  └──────────── delete, with nothing to wait for ────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.apiserver.options import DeleteOptions
from kontinuum.foundation.clock import parse_rfc3339, rfc3339

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
DEFAULT_GRACE = 30
"""Seconds that a pod gets which says nothing about it."""

GraceOf = Callable[[Object, int | None], int]
"""Seconds of grace for an object, given what the request asks for (None: nothing)."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a delete comes to. ``is_gone``: remove the object; otherwise store ``obj``."""

    obj: Object
    is_gone: bool


def no_grace(obj: Object, asked: int | None) -> int:
    """Most kinds end at once, whatever grace is asked for."""
    return 0


def pod_grace(obj: Object, asked: int | None) -> int:
    """A pod gets its own grace unless no node can be running it (kubernetes ``podStrategy.CheckGracefulDelete``)."""
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return 0
    if asked is not None:
        return asked
    seconds = spec.get("terminationGracePeriodSeconds")
    if seconds is None:
        return DEFAULT_GRACE
    return int(seconds) if int(seconds) >= 0 else 1


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raises ApiError 409 if the object is another, or at another revision, than the client expects."""
    metadata = obj["metadata"]
    name = metadata["name"]
    if options.uid and options.uid != metadata.get("uid"):
        problem = f"UID in precondition: {options.uid}, UID in object meta: {metadata.get('uid')}"
        raise status.conflict(resource, name, f"Precondition failed: {problem}")
    if options.resource_version and options.resource_version != metadata.get("resourceVersion"):
        problem = (
            f"ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {metadata.get('resourceVersion')}"
        )
        raise status.conflict(resource, name, f"Precondition failed: {problem}")


def plan_deletion(obj: Object, options: DeleteOptions, *, now: float, grace_of: GraceOf) -> Deletion:
    """Decide a delete request. ``obj`` belongs to the caller and may be changed; ``now`` in seconds since the epoch."""
    metadata = obj["metadata"]
    finalizers = list(metadata.get("finalizers") or ())
    wanted = _finalizers_for(finalizers, options.propagation)
    if metadata.get("deletionTimestamp"):
        return _again(obj, options, wanted, now=now)
    grace = grace_of(obj, options.grace_seconds)
    if not wanted and grace == 0 and not _spec_finalizers(obj):
        return Deletion(obj, is_gone=True)
    _set_finalizers(metadata, wanted)
    metadata["deletionTimestamp"] = rfc3339(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if "generation" in metadata:
        metadata["generation"] += 1
    return Deletion(obj, is_gone=False)


def _again(obj: Object, options: DeleteOptions, wanted: list[str], *, now: float) -> Deletion:
    """A delete of what is already terminating can only shorten its grace, or change what happens to dependents."""
    metadata = obj["metadata"]
    current = int(metadata.get("deletionGracePeriodSeconds") or 0)
    asked = options.grace_seconds
    grace = asked if asked is not None and asked < current else current
    if grace == 0 and not wanted and not _spec_finalizers(obj):
        return Deletion(obj, is_gone=True)
    _set_finalizers(metadata, wanted)
    if grace < current:
        requested_at = parse_rfc3339(metadata["deletionTimestamp"]) - current
        metadata["deletionTimestamp"] = rfc3339(max(now, requested_at + grace))
        metadata["deletionGracePeriodSeconds"] = grace
    return Deletion(obj, is_gone=False)


def is_over(obj: Object) -> bool:
    """An update has removed the last thing that held a terminating object back."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not _spec_finalizers(obj)
    )


def _finalizers_for(finalizers: list[str], propagation: str) -> list[str]:
    """The garbage collector's orders are finalizers; Background and a new order replace an older one."""
    if not propagation:
        return finalizers
    others = [one for one in finalizers if one not in (ORPHAN, FOREGROUND)]
    order = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(propagation, [])
    return others + order


def _spec_finalizers(obj: Object) -> bool:
    """Namespaces keep a second list, ``spec.finalizers``, emptied through their ``finalize`` subresource."""
    return obj.get("kind") == "Namespace" and bool((obj.get("spec") or {}).get("finalizers"))


def _set_finalizers(metadata: Object, finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
