"""What the scheduler keeps of storage objects: what a decision reads, and no more."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.kubernetes.binding import BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE
from kontinuum.api.kubernetes.claims import CLASS_ANNOTATION
from kontinuum.api.machinery.objects import Object, annotations_of

METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp", "ownerReferences")
ANNOTATIONS = (BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE, CLASS_ANNOTATION)
CLAIM_SPEC = (
    "accessModes", "resources", "selector", "storageClassName", "volumeAttributesClassName", "volumeMode", "volumeName",
)  # fmt: skip
VOLUME_SPEC = (
    "accessModes", "capacity", "claimRef", "nodeAffinity", "storageClassName", "volumeAttributesClassName",
    "volumeMode",
)  # fmt: skip


def trim_claim(claim: Object) -> Object:
    return _trimmed(claim, CLAIM_SPEC, ("phase",))


def trim_volume(volume: Object) -> Object:
    trimmed = _trimmed(volume, VOLUME_SPEC, ("phase",))
    if source := volume["spec"].get("csi"):
        trimmed["spec"]["csi"] = _pick(source, ("driver", "volumeHandle"))
    return trimmed


def trim_csi_node(node: Object) -> Object:
    drivers = [_pick(one, ("name", "allocatable")) for one in (node.get("spec") or {}).get("drivers") or ()]
    return {"metadata": _pick(node["metadata"], METADATA), "spec": {"drivers": drivers}}


def trim_attachment(attachment: Object) -> Object:
    return _trimmed(attachment, ("nodeName", "source"), ())


def _trimmed(obj: Object, spec: Iterable[str], status: Iterable[str]) -> Object:
    metadata = _pick(obj["metadata"], METADATA)
    if kept := _pick(annotations_of(obj), ANNOTATIONS):
        metadata["annotations"] = kept
    return {
        "metadata": metadata,
        "spec": _pick(obj.get("spec") or {}, spec),
        "status": _pick(obj.get("status") or {}, status),
    }


def _pick(obj: Object, fields: Iterable[str]) -> Object:
    return {field: obj[field] for field in fields if field in obj}
