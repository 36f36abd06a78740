"""Which PersistentVolume serves which PersistentVolumeClaim: the rules that the controllers and the scheduler share.

A volume is bound by its ``spec.claimRef``, a claim by its ``spec.volumeName``; both are needed. Whoever writes the
volume's first (with the version that was read) has the volume: that write is the lock. The rules are those of
Kubernetes' ``component-helpers/storage/volume`` and its volume controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.claims import CLASS_ANNOTATION, class_of, size_of
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.selectors import from_object

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
"""On a claim: it has been bound, and is never bound anew. What it was bound to is its data."""
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
"""On a claim or volume: no user chose the other, so the choice may be taken back."""
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
"""On a volume: who made it for a claim, and is to unmake it."""
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
"""On a claim: who is asked to make a volume for it."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""On a claim: where the scheduler wants the volume. Whoever cannot make it there takes the annotation away."""


def class_of_volume(volume: Object) -> str:
    """The name of the volume's StorageClass, "" for none; the annotation wins."""
    return annotations_of(volume).get(CLASS_ANNOTATION) or (volume.get("spec") or {}).get("storageClassName") or ""


def has_class(claim: Object) -> bool:
    """True if somebody said which class, be it none."""
    return CLASS_ANNOTATION in annotations_of(claim) or (claim.get("spec") or {}).get("storageClassName") is not None


def volume_of(claim: Object) -> str:
    """The name of the volume that the claim has or asks for; "" for none."""
    return (claim.get("spec") or {}).get("volumeName") or ""


def is_bound(claim: Object) -> bool:
    """True once both sides of the binding are written."""
    return bool(volume_of(claim)) and BIND_COMPLETED in annotations_of(claim)


def claim_key(volume: Object) -> str:
    """``namespace/name`` of the claim that the volume is bound to or reserved for; "" for none."""
    reference = (volume.get("spec") or {}).get("claimRef")
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def is_meant_for(volume: Object, claim: Object) -> bool:
    """True if the volume is bound to exactly this claim, or reserved for one of its name."""
    reference = (volume.get("spec") or {}).get("claimRef") or {}
    if claim_key(volume) != f"{namespace_of(claim)}/{name_of(claim)}":
        return False
    return not reference.get("uid") or reference["uid"] == uid_of(claim)


def is_delayed(claim: Object, storage_class: Object | None) -> bool:
    """True if the scheduler is to choose where the claim's volume is (WaitForFirstConsumer)."""
    return bool(class_of(claim)) and (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def capacity_of(volume: Object) -> str:
    return (volume["spec"].get("capacity") or {}).get("storage") or "0"


def is_large_enough(volume: Object, claim: Object) -> bool:
    return quantity.value(capacity_of(volume)) >= quantity.value(size_of(claim))


def have_same_mode(volume: Object, claim: Object) -> bool:
    """Both are file systems, or both are block devices."""
    return (volume["spec"].get("volumeMode") or "Filesystem") == (claim["spec"].get("volumeMode") or "Filesystem")


def mismatch(volume: Object, claim: Object) -> str:
    """Why a volume that the claim names cannot be given to it, in Kubernetes' words; "" if it can."""
    if "deletionTimestamp" in volume["metadata"]:
        return f'the volume is marked for deletion "{name_of(volume)}"'
    if not is_large_enough(volume, claim):
        return "requested PV is too small"
    if class_of_volume(volume) != class_of(claim):
        return "storageClassName does not match"
    if _attributes_class(volume) != _attributes_class(claim):
        return "volumeAttributesClassName does not match"
    if not have_same_mode(volume, claim):
        return "incompatible volumeMode"
    if not _has_modes(volume, claim):
        return "incompatible accessMode"
    return ""


def matches(claim: Object, volumes: Iterable[Object]) -> list[Object]:
    """The volumes that a claim which names none could be given, the best first; where they are does not count here.

    One that is reserved for the claim is the only one; else the smallest that holds it, of equally good ones the one
    with the fewest access modes beyond those asked for, then the first by name.
    """
    usable = [
        volume
        for volume in volumes
        if "deletionTimestamp" not in volume["metadata"]
        and (volume["spec"].get("claimRef") is None or is_meant_for(volume, claim))
        and have_same_mode(volume, claim)
        and is_large_enough(volume, claim)
        and _attributes_class(volume) == _attributes_class(claim)
        and _has_modes(volume, claim)
    ]
    if reserved := [volume for volume in usable if is_meant_for(volume, claim)]:
        return reserved[:1]
    selector = claim["spec"].get("selector")
    fitting = [
        volume
        for volume in usable
        if (volume.get("status") or {}).get("phase") == "Available"
        and class_of_volume(volume) == class_of(claim)
        and (selector is None or from_object(selector).matches(labels_of(volume)))
    ]
    return sorted(fitting, key=_preference)


def bound_volume(volume: Object, claim: Object) -> Object:
    """The volume, bound to ``claim``; equal to ``volume`` if it is already."""
    new: Object = copy(volume)
    reference = (volume.get("spec") or {}).get("claimRef") or {}
    wanted = {"namespace": namespace_of(claim), "name": name_of(claim), "uid": uid_of(claim)}
    if not is_meant_for(volume, claim):
        annotate(new, BOUND_BY_CONTROLLER)
    if {key: reference.get(key) for key in wanted} != wanted:
        version = claim["metadata"].get("resourceVersion", "")
        new["spec"]["claimRef"] = {
            "kind": "PersistentVolumeClaim", "apiVersion": "v1", **wanted, "resourceVersion": version,
        }  # fmt: skip
    return new


def annotate(obj: Object, key: str, value: str = "yes") -> None:
    """Set an annotation, in place."""
    obj["metadata"]["annotations"] = {**annotations_of(obj), key: value}


def unannotate(obj: Object, key: str) -> None:
    """Remove an annotation, in place."""
    kept = {name: value for name, value in annotations_of(obj).items() if name != key}
    obj["metadata"].pop("annotations", None)
    if kept:
        obj["metadata"]["annotations"] = kept


def _preference(volume: Object) -> tuple[int, int, str]:
    return len(volume["spec"].get("accessModes") or ()), quantity.value(capacity_of(volume)), name_of(volume)


def _has_modes(volume: Object, claim: Object) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def _attributes_class(obj: Object) -> str:
    return obj["spec"].get("volumeAttributesClassName") or ""
