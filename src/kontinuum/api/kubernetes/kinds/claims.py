"""PersistentVolumes and the claims for them: storage that outlives pods."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.claims import CLASS_ANNOTATION
from kontinuum.api.kubernetes.defaults.claims import default_claim, default_volume
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.kubernetes.validation.claims import (
    validate_claim,
    validate_claim_change,
    validate_claim_status,
    validate_volume,
    validate_volume_change,
)
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object, annotations_of

SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
UNSET = "<unset>"


class PersistentVolume(Kind):
    columns = (
        NAME,
        Column("Capacity", description="How much it holds."),
        Column("Access Modes", description="How it can be mounted."),
        Column("Reclaim Policy", description="What becomes of it when its claim ends."),
        Column("Status", description="Whether it is available, bound, released or failed."),
        Column("Claim", description="The claim that it is bound to."),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description="Why it is in that state, in one word."),
        AGE,
        Column("VolumeMode", priority=1, description="Whether it is a file system or a block device."),
    )

    def default(self, obj: Object) -> None:
        default_volume(obj)

    def prepare_create(self, obj: Object) -> None:
        since = (obj.get("status") or {}).get("lastPhaseTransitionTime")
        obj["status"] = {"phase": "Pending", **({"lastPhaseTransitionTime": since} if since else {})}

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_volume(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validate_volume_change(obj["spec"], old["spec"])

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        claim = spec.get("claimRef")
        return [
            obj["metadata"].get("name", ""),
            (spec.get("capacity") or {}).get("storage", "0"),
            _modes(spec.get("accessModes") or []),
            spec.get("persistentVolumeReclaimPolicy", ""),
            _phase(obj),
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
            _class(obj),
            spec.get("volumeAttributesClassName") or UNSET,
            status.get("reason", ""),
            age(obj["metadata"].get("creationTimestamp"), now),
            spec.get("volumeMode") or UNSET,
        ]


class PersistentVolumeClaim(Kind):
    columns = (
        NAME,
        Column("Status", description="Whether it is pending, bound or lost."),
        Column("Volume", description="The volume that it is bound to."),
        Column("Capacity", description="How much that volume holds."),
        Column("Access Modes", description="How that volume can be mounted."),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        Column("VolumeMode", priority=1, description="Whether it is a file system or a block device."),
    )

    def default(self, obj: Object) -> None:
        default_claim(obj)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending"}
        complete_data_sources(obj["spec"])

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_claim(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validate_claim_change(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + validate_claim_status(obj.get("status") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        is_bound = bool(spec.get("volumeName"))
        return [
            obj["metadata"].get("name", ""),
            _phase(obj),
            spec.get("volumeName", ""),
            (status.get("capacity") or {}).get("storage", "0") if is_bound else "",
            _modes(status.get("accessModes") or []) if is_bound else "",
            _class(obj),
            spec.get("volumeAttributesClassName") or UNSET,
            age(obj["metadata"].get("creationTimestamp"), now),
            spec.get("volumeMode") or UNSET,
        ]


def stamp_phase(volume: Object, old: Object | None, now: str) -> None:
    """Say since when a volume is in its phase, in place; ``now`` is an RFC 3339 time. ``old`` is None at creation.

    A status that says itself when the phase changed is believed (``persistentvolumeStatusStrategy``).
    """
    status: Object = volume.setdefault("status", {})
    if old is None:
        status["lastPhaseTransitionTime"] = now
        return
    before = old.get("status") or {}
    if status.get("phase") != before.get("phase") and status.get("lastPhaseTransitionTime") in (
        None,
        before.get("lastPhaseTransitionTime"),
    ):
        status["lastPhaseTransitionTime"] = now


def complete_data_sources(spec: Object) -> None:
    """``dataSource`` and ``dataSourceRef`` say the same; who sets one gets both (but across namespaces)."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


def _phase(obj: Object) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _modes(modes: list[str]) -> str:
    """``RWO,ROX``, each once."""
    return ",".join(SHORT_MODES[mode] for mode in SHORT_MODES if mode in modes)


def _class(obj: Object) -> str:
    return annotations_of(obj).get(CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""
