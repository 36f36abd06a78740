"""Claims of devices that pods ask for by a template, and who holds on to a claim (KEP-4381). Pure.

Which device a claim gets is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import PODS, RESOURCECLAIMS
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kontinuum.controllers.lib.names import FreshNames
from kontinuum.controllers.lib.owners import controller_reference, controller_uid
from kontinuum.controllers.lib.pods import is_finished, is_leaving, node_of

FINALIZER = "resource.kubernetes.io/delete-protection"
"""Held while a claim is allocated."""
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""The annotation of a claim that was made for a pod: which of the pod's claims it is."""


def is_done(pod: Object) -> bool:
    """None of its containers runs, or ever will."""
    return is_finished(pod) or (is_leaving(pod) and not node_of(pod))


def by_template(pod: Object) -> list[Object]:
    """The entries of the pod that ask for a claim of their own."""
    claims = (pod.get("spec") or {}).get("resourceClaims") or ()
    return [one for one in claims if one.get("resourceClaimTemplateName")]


def made_for(pod: Object, entry: Object, claims: Iterable[Object]) -> Object | None:
    """The claim that was made for this entry, whether the pod's status names it already or not."""
    return next(
        (
            one for one in claims
            if controller_uid(one) == uid_of(pod) and annotations_of(one).get(POD_CLAIM) == entry["name"]
        ),
        None,
    )  # fmt: skip


def new_claim(pod: Object, entry: Object, template: Object, is_taken: Callable[[str], bool]) -> Object:
    """The claim for an entry. Its name follows from the pod, so that a repeat makes it once."""
    spec = template["spec"]
    metadata = {key: value for key, value in (spec.get("metadata") or {}).items() if key in ("labels", "annotations")}
    name = FreshNames(is_taken).child(f"{name_of(pod)}-{entry['name']}", f"{uid_of(pod)}/{entry['name']}")
    return {
        "apiVersion": RESOURCECLAIMS.api_version,
        "kind": RESOURCECLAIMS.kind,
        "metadata": {
            **metadata,
            "name": name,
            "namespace": namespace_of(pod),
            "annotations": {**(metadata.get("annotations") or {}), POD_CLAIM: entry["name"]},
            "ownerReferences": [controller_reference(pod, PODS)],
        },
        "spec": spec["spec"],
    }


def statuses(pod: Object, names: dict[str, str]) -> list[Object]:
    """``status.resourceClaimStatuses`` with the claims' ``names`` by entry, those of other entries as they are."""
    old = (pod.get("status") or {}).get("resourceClaimStatuses") or []
    kept = [one for one in old if one["name"] not in names]
    return [*kept, *({"name": entry, "resourceClaimName": name} for entry, name in sorted(names.items()))]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What becomes of a claim. The three are done in this order."""

    status: Object | None
    """The new status, None if it stays."""
    releases: bool
    """The finalizer goes: nothing is allocated any more."""
    deletes: bool
    """It was made for a pod that needs it no more."""


def upkeep(claim: Object, *, is_gone: Callable[[Object], bool], owner: Object | None) -> Upkeep:
    """``is_gone`` says of a consumer that it will not use the claim any more; ``owner`` is the pod it was made for."""
    status = claim.get("status") or {}
    reserved = status.get("reservedFor") or []
    users = [one for one in reserved if one.get("apiGroup") or one.get("resource") != PODS.plural or not is_gone(one)]
    is_held = FINALIZER in (claim["metadata"].get("finalizers") or ())
    is_let_go = not users and (bool(reserved) or is_leaving(claim))
    new = {**status, "reservedFor": users}
    if not users:
        del new["reservedFor"]
    if is_let_go and is_held:
        # Whoever uses it next may do so elsewhere.
        new.pop("allocation", None)
    deletes = not users and owner is not None and not is_leaving(claim)
    deletes = deletes and owner is not None and (uid_of(owner) != controller_uid(claim) or is_done(owner))
    has_changed = {key: value for key, value in status.items() if value} != new
    return Upkeep(new if has_changed else None, is_held and is_let_go and "allocation" not in new, deletes)
