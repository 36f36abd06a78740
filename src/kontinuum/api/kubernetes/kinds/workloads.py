"""Deployments, ReplicaSets and ReplicationControllers, and what every workload kind shares."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.defaults.workloads import (
    default_deployment,
    default_replicaset,
    default_replication_controller,
)
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, age, containers_and_images, format_labels
from kontinuum.api.kubernetes.validation.workloads import (
    immutable_selector,
    validate_counts,
    validate_deployment,
    validate_replicaset,
    validate_replication_controller,
    validate_shares,
)
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

CONTAINER_COLUMNS = (
    Column("Containers", priority=1, description="Names of each container in the template."),
    Column("Images", priority=1, description="Images referenced by each container in the template."),
)
TEMPLATE_COLUMNS = (*CONTAINER_COLUMNS, Column("Selector", priority=1, description="Label selector for pods."))
REPLICA_COLUMNS = (
    NAME,
    Column("Desired", "integer", description="Replicas is the number of desired pods."),
    Column("Current", "integer", description="Replicas is the most recently observed number of pods."),
    Column("Ready", "integer", description="The number of pods that are ready."),
    AGE,
    *TEMPLATE_COLUMNS,
)
QUALITIES = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
TERMINATING = "terminatingReplicas"


class Deployment(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description="Pods that have the newest template."),
        Column("Available", description="Pods that have been ready for minReadySeconds."),
        AGE,
        *TEMPLATE_COLUMNS,
    )

    def default(self, obj: Object) -> None:
        default_deployment(obj)

    def is_changed(self, obj: Object, old: Object) -> bool:
        """Annotations count too: the controller copies them to ReplicaSets."""
        annotations = obj["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
        return annotations[0] != annotations[1] or super().is_changed(obj, old)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_deployment(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + immutable_selector(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        names = (
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            TERMINATING,
        )
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old) + validate_counts(status, old.get("status") or {}, *names)
        return errors + validate_shares(status, ("updatedReplicas", "readyReplicas", "availableReplicas"))

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return [
            obj["metadata"].get("name", ""),
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            status.get("updatedReplicas", 0),
            status.get("availableReplicas", 0),
            age(obj["metadata"].get("creationTimestamp"), now),
            *template_cells(spec),
        ]


class ReplicaSet(Kind):
    initial_status: ClassVar[Object] = {"replicas": 0}
    has_generation = True
    columns = REPLICA_COLUMNS
    selectable = ("status.replicas",)

    def default(self, obj: Object) -> None:
        default_replicaset(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_replicaset(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + immutable_selector(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old)
        errors += validate_counts(status, old.get("status") or {}, "replicas", *QUALITIES, TERMINATING)
        return errors + validate_shares(status, QUALITIES)

    def fields(self, obj: Object) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas") or 0)}

    def cells(self, obj: Object, now: float) -> list[Any]:
        return [*_replica_cells(obj, now), *template_cells(obj.get("spec") or {})]


class ReplicationController(ReplicaSet):
    """As a ReplicaSet, with a plain map of labels for a selector."""

    def default(self, obj: Object) -> None:
        default_replication_controller(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_replication_controller(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        names, images = containers_and_images((spec.get("template") or {}).get("spec") or {})
        return [*_replica_cells(obj, now), names, images, format_labels(spec.get("selector"))]


def template_cells(spec: Object) -> list[str]:
    names, images = containers_and_images((spec.get("template") or {}).get("spec") or {})
    return [names, images, str(from_object(spec.get("selector"))) or NONE]


def _replica_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        obj["metadata"].get("name", ""),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj["metadata"].get("creationTimestamp"), now),
    ]
