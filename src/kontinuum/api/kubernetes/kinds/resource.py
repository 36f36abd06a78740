"""resource.k8s.io: claims of devices, their classes, and what drivers have on offer. Nothing is allocated here."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.resource import default_device_claim
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation import allocations, devices, metadata, slices
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class ResourceClaim(Kind):
    columns = (
        NAME,
        Column("State", description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_device_claim(obj.setdefault("spec", {}))

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return devices.validate_claim(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return _fixed_spec(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + allocations.validate_claim_status(obj, old)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return row(obj, now, ",".join(_states(obj)))


class ResourceClaimTemplate(Kind):
    def default(self, obj: Object) -> None:
        default_device_claim(obj.setdefault("spec", {}).setdefault("spec", {}))

    def validate_spec(self, obj: Object) -> list[FieldError]:
        meta = obj["spec"].get("metadata") or {}
        return [
            *metadata.check_labels(meta.get("labels"), "spec.metadata.labels"),
            *metadata.check_annotations(meta.get("annotations"), "spec.metadata.annotations"),
            *devices.validate_claim(obj["spec"]["spec"], "spec.spec"),
        ]

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return _fixed_spec(obj, old)


class DeviceClass(Kind):
    has_generation = True

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return devices.validate_device_class(obj.get("spec") or {})


class ResourceSlice(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Node", description="The node that the devices are at."),
        Column("Driver", description="The driver that has them on offer."),
        Column("Pool", description="The pool that they belong to."),
        AGE,
    )
    selectable = ("spec.driver", "spec.nodeName")

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return slices.validate_slice(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + slices.validate_slice_change(obj.get("spec") or {}, old.get("spec") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        pool = (spec.get("pool") or {}).get("name", "")
        return row(obj, now, spec.get("nodeName", ""), spec.get("driver", ""), pool)


def _fixed_spec(obj: Object, old: Object) -> list[FieldError]:
    if obj.get("spec") == old.get("spec"):
        return []
    return [fields.invalid("spec", obj.get("spec"), devices.IMMUTABLE)]


def _states(claim: Object) -> list[str]:
    status, is_deleted = claim.get("status") or {}, "deletionTimestamp" in claim["metadata"]
    if status.get("allocation") is None:
        return ["deleted"] if is_deleted else ["pending"]
    return [*(["deleted"] if is_deleted else []), "allocated", *(["reserved"] if status.get("reservedFor") else [])]
