"""Readings of a PersistentVolumeClaim that several need."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object, annotations_of

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
