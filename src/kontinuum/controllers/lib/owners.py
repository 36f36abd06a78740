"""Owner references: who made an object, and which objects an owner may take in or must let go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object, labels_of, name_of, uid_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import LabelSelector


def controller_of(obj: Object) -> Object | None:
    """The one owner reference with ``controller: true``, or None for an orphan."""
    return next((ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller")), None)


def controller_uid(obj: Object) -> str:
    """The controlling owner's uid, "" for an orphan; what indexes by owner use."""
    reference = controller_of(obj)
    return reference["uid"] if reference else ""


def controller_reference(owner: Object, resource: Resource) -> Object:
    """A reference that makes ``owner`` the controller, and lets its foreground deletion wait for the child."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner has, and how it must change: (``owned`` includes ``adopt``, not ``release``)."""

    owned: list[Object]
    adopt: list[Object]
    release: list[Object]


def claim(owner: Object, candidates: Iterable[Object], selector: LabelSelector) -> Claim:
    """Sort ``candidates`` (of the owner's namespace) as Kubernetes' ControllerRefManager does.

    An orphan that matches is adopted, unless either is being deleted; an own child that no longer matches is released.
    """
    owned, adopt, release = [], [], []
    owner_leaves = "deletionTimestamp" in owner["metadata"]
    for obj in candidates:
        reference = controller_of(obj)
        leaves = "deletionTimestamp" in obj["metadata"]
        matches = selector.matches(labels_of(obj))
        if reference is None:
            if matches and not owner_leaves and not leaves:
                owned.append(obj)
                adopt.append(obj)
        elif reference["uid"] == uid_of(owner):
            if matches or owner_leaves:
                owned.append(obj)
            else:
                release.append(obj)
    return Claim(owned, adopt, release)


def adoption_patch(obj: Object, reference: Object) -> Object:
    """A merge patch that adds ``reference``, only if the object is still the one (and the version) that we saw."""
    references = [*(obj["metadata"].get("ownerReferences") or ()), reference]
    return {"metadata": {**_exactly(obj), "ownerReferences": references}}


def release_patch(obj: Object, owner_uid: str) -> Object:
    """A merge patch that removes the owner, only if the object is still the one (and the version) that we saw."""
    references = [ref for ref in obj["metadata"].get("ownerReferences") or () if ref["uid"] != owner_uid]
    return {"metadata": {**_exactly(obj), "ownerReferences": references or None}}


def _exactly(obj: Object) -> Object:
    return {"uid": uid_of(obj), "resourceVersion": obj["metadata"]["resourceVersion"]}
