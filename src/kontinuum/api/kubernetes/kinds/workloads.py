"""Deployments, ReplicaSets and ControllerRevisions: a template, its copies and its history."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.workloads import default_deployment, default_replicaset
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, age, containers_and_images
from kontinuum.api.kubernetes.validation.workloads import (
    NEGATIVE,
    immutable,
    not_negative,
    validate_replicated,
    validate_strategy,
)
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

TEMPLATE_COLUMNS = (
    Column("Containers", priority=1, description="Names of each container in the template."),
    Column("Images", priority=1, description="Images referenced by each container in the template."),
    Column("Selector", priority=1, description="Label selector for pods."),
)


class Deployment(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", "integer", description="Pods that have the newest template."),
        Column("Available", "integer", description="Pods that have been ready for minReadySeconds."),
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
        spec = obj["spec"]
        errors = validate_replicated(spec, "deployment") + validate_strategy(spec.get("strategy") or {})
        errors += not_negative(spec, "progressDeadlineSeconds")
        if (spec.get("progressDeadlineSeconds") or 0) <= (spec.get("minReadySeconds") or 0):
            problem = "must be greater than minReadySeconds"
            errors.append(fields.invalid("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], problem))
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + immutable(obj, old, "selector")

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
        return super().validate_status(obj, old) + _counts(obj, *names)

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
    has_generation = True
    columns = (
        NAME,
        Column("Desired", "integer", description="Replicas is the number of desired pods."),
        Column("Current", "integer", description="Replicas is the most recently observed number of pods."),
        Column("Ready", "integer", description="The number of pods that are ready."),
        AGE,
        *TEMPLATE_COLUMNS,
    )

    def default(self, obj: Object) -> None:
        default_replicaset(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_replicated(obj["spec"], "replicaset")

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + immutable(obj, old, "selector")

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        return super().validate_status(obj, old) + _counts(obj, *names)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return [
            obj["metadata"].get("name", ""),
            spec.get("replicas", 0),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            age(obj["metadata"].get("creationTimestamp"), now),
            *template_cells(spec),
        ]


class ControllerRevision(Kind):
    columns = (
        NAME,
        Column("Controller", description="Controller of the object"),
        Column("Revision", "integer", description="Revision indicates the revision of the state represented by Data."),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        if obj.get("revision", 0) < 0:
            return [fields.invalid("revision", obj["revision"], NEGATIVE)]
        return []

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        if obj.get("data") != old.get("data"):
            errors.append(fields.invalid("data", obj.get("data"), "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
        return [
            metadata.get("name", ""),
            _owner(owner) if owner else NONE,
            obj.get("revision", 0),
            age(metadata.get("creationTimestamp"), now),
        ]


def template_cells(spec: Object) -> list[str]:
    names, images = containers_and_images((spec.get("template") or {}).get("spec") or {})
    return [names, images, str(from_object(spec.get("selector"))) or NONE]


def _owner(owner: Object) -> str:
    """``deployment.apps/web``"""
    group = owner["apiVersion"].rpartition("/")[0]
    kind = owner["kind"].lower()
    return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"


def _counts(obj: Object, *names: str) -> list[FieldError]:
    status = obj.get("status") or {}
    errors = [fields.invalid(f"status.{name}", status[name], NEGATIVE) for name in names if status.get(name, 0) < 0]
    for name in ("readyReplicas", "availableReplicas"):
        if status.get(name, 0) > status.get("replicas", 0):
            problem = "cannot be greater than status.replicas"
            errors.append(fields.invalid(f"status.{name}", status[name], problem))
    return errors
