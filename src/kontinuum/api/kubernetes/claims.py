"""Readings of a PersistentVolumeClaim that several need."""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object, annotations_of, name_of, uid_of

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
"""How a claim named its class before there was a field for it."""


def class_of(claim: Object) -> str:
    """The name of the claim's StorageClass, "" for none; the annotation wins."""
    return annotations_of(claim).get(CLASS_ANNOTATION) or (claim.get("spec") or {}).get("storageClassName") or ""


def size_of(claim: Object) -> str:
    """The quantity of storage that is asked for."""
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return requests.get("storage") or "0"


def attributes_classes_of(claim: Object) -> set[str]:
    """The class that a claim has, the one that it wants, and the one that it is being changed to."""
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    named = (spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), target)
    return {one for one in named if one}


@dataclass(frozen=True, slots=True)
class ClaimedVolume:
    """A pod's volume that is a claim, in the pod's namespace."""

    volume: str
    claim: str
    is_ephemeral: bool
    """The claim is made for this pod alone and ends with it (KEP-1698)."""


def claimed_volumes(pod: Object) -> list[ClaimedVolume]:
    """Those volumes of a pod, in its order."""
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        name = volume.get("name", "")
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            found.append(ClaimedVolume(name, claim, False))
        elif "ephemeral" in volume:
            found.append(ClaimedVolume(name, f"{name_of(pod)}-{name}", True))
    return found


def is_made_for(claim: Object, pod: Object) -> bool:
    """True if the pod controls the claim; another of that name is somebody's data."""
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(one.get("controller") and one.get("uid") == uid_of(pod) for one in owners)
