"""storage.k8s.io: classes of volumes, CSI drivers and what they say of nodes, and attachments."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.defaults.storage import default_csi_driver, default_storage_class
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation import storage as validation
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object, annotations_of

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
DEFAULT_ATTRIBUTES_CLASS = "volumeattributesclass.alpha.kubernetes.io/is-default-class"
COUNTED = ("tokenRequests", "requiresRepublish", "seLinuxMount", "nodeAllocatableUpdatePeriodSeconds")
"""What of a CSIDriver may change, and is counted by its generation."""


class StorageClass(Kind):
    columns = (
        NAME,
        Column("Provisioner", description="The type of the provisioner."),
        Column("ReclaimPolicy", description="What happens to volumes of this class that are released."),
        Column("VolumeBindingMode", description="When volumes of this class are provisioned and bound."),
        Column("AllowVolumeExpansion", "string", description="Whether volumes of this class may grow."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_storage_class(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_storage_class(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validation.validate_storage_class_change(obj, old) + validation.validate_storage_class(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        cells = row(
            obj,
            now,
            obj.get("provisioner", ""),
            obj.get("reclaimPolicy", "Delete"),
            obj.get("volumeBindingMode", "Immediate"),
            obj.get("allowVolumeExpansion", False),
        )
        return [f"{cells[0]} (default)" if is_default(obj) else cells[0], *cells[1:]]


def is_default(storage_class: Object) -> bool:
    """True for a class that claims get which name none."""
    annotations = annotations_of(storage_class)
    return "true" in (annotations.get(DEFAULT_CLASS), annotations.get(BETA_DEFAULT_CLASS))


class VolumeAttributesClass(Kind):
    columns = (NAME, Column("DriverName", description="Name of the CSI driver."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_attributes_class(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = validation.forbidden_changes(obj, old, "driverName", "parameters")
        return errors + validation.validate_attributes_class(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        cells = row(obj, now, obj.get("driverName", ""))
        if annotations_of(obj).get(DEFAULT_ATTRIBUTES_CLASS) == "true":
            cells[0] += " (default)"
        return cells


class CSIDriver(Kind):
    columns = (
        NAME,
        Column("AttachRequired", "boolean", description="Whether volumes are attached before they are mounted."),
        Column("PodInfoOnMount", "boolean", description="Whether the driver is told of the pod when it mounts."),
        Column("StorageCapacity", "boolean", description="Whether scheduling looks at the capacity that is left."),
        Column("TokenRequests", description="Audiences of the tokens that the driver is given."),
        Column("RequiresRepublish", "boolean", description="Whether volumes are published again and again."),
        Column("Modes", description="Which lifecycles of volumes the driver supports."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_csi_driver(obj)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        if any(spec.get(field) != before.get(field) for field in COUNTED):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_csi_driver(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validation.validate_csi_driver_change(obj["spec"], old.get("spec") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        audiences = [one.get("audience", "") for one in spec.get("tokenRequests") or ()]
        return row(
            obj,
            now,
            spec.get("attachRequired", True),
            spec.get("podInfoOnMount", False),
            spec.get("storageCapacity", False),
            ",".join(audiences) or "<unset>",
            spec.get("requiresRepublish", False),
            ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>",
        )


class CSINode(Kind):
    columns = (
        NAME,
        Column("Drivers", "integer", description="Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_csi_node(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        return errors + validation.validate_csi_node_change(obj.get("spec") or {}, old.get("spec") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        return row(obj, now, len((obj.get("spec") or {}).get("drivers") or ()))


class CSIStorageCapacity(Kind):
    columns = (
        NAME,
        Column("StorageClassName", description="The class of the volumes that there is room for."),
        Column("Capacity", description="How much room there is."),
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_capacity(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validation.validate_capacity_change(obj, old)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"].get("name", ""), obj.get("storageClassName", ""), obj.get("capacity", "<unset>")]


class VolumeAttachment(Kind):
    initial_status: ClassVar[Object] = {"attached": False}
    columns = (
        NAME,
        Column("Attacher", format="name", description="The name of the volume driver that must handle this request."),
        Column("PV", description="The volume that is attached."),
        Column("Node", description="The node that it is attached to."),
        Column("Attached", "boolean", description="Whether it is."),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_attachment(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = validation.validate_attachment(obj)
        if obj.get("spec") != old.get("spec"):
            errors.append(fields.invalid("spec", obj.get("spec"), validation.IMMUTABLE))
        return errors

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + validation.validate_attachment(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        return row(
            obj,
            now,
            spec.get("attacher", ""),
            (spec.get("source") or {}).get("persistentVolumeName", ""),
            spec.get("nodeName", ""),
            (obj.get("status") or {}).get("attached", False),
        )
