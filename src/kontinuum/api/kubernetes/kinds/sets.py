"""DaemonSets, StatefulSets and the ControllerRevisions that hold their history."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.defaults.workloads import default_daemonset, default_statefulset
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.kinds.workloads import CONTAINER_COLUMNS, TEMPLATE_COLUMNS, template_cells
from kontinuum.api.kubernetes.tables import NONE, age, format_labels
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import non_negative, same, unchanged
from kontinuum.api.kubernetes.validation.workloads import (
    immutable_selector,
    validate_counts,
    validate_daemonset,
    validate_shares,
    validate_statefulset,
    validate_statefulset_change,
)
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""An annotation that counts the changes of a DaemonSet's template; it was a field in extensions/v1beta1."""
SCHEDULED = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled",
    "numberAvailable", "numberUnavailable",
)  # fmt: skip


class DaemonSet(Kind):
    initial_status: ClassVar[Object] = {
        "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
    }  # fmt: skip
    has_generation = True
    columns = (
        NAME,
        Column("Desired", "integer", description="Nodes that should run the pod."),
        Column("Current", "integer", description="Nodes that run the pod and should."),
        Column("Ready", "integer", description="Nodes whose pod is ready."),
        Column("Up-to-date", "integer", description="Nodes whose pod has the newest template."),
        Column("Available", "integer", description="Nodes whose pod has been ready for minReadySeconds."),
        Column("Node Selector", description="Labels of the nodes that it is for."),
        AGE,
        *TEMPLATE_COLUMNS,
    )

    def default(self, obj: Object) -> None:
        default_daemonset(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        _count_template(obj, 1)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
        count = int(before) if before.isascii() and before.isdigit() else 1
        is_new = not same((obj.get("spec") or {}).get("template"), (old.get("spec") or {}).get("template"))
        _count_template(obj, count + is_new)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_daemonset(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + immutable_selector(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        errors = super().validate_status(obj, old)
        return errors + validate_counts(obj.get("status") or {}, old.get("status") or {}, *SCHEDULED)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        shown = SCHEDULED[2], SCHEDULED[0], SCHEDULED[3], SCHEDULED[4], SCHEDULED[5]
        pod = (spec.get("template") or {}).get("spec") or {}
        return [
            obj["metadata"].get("name", ""),
            *(status.get(name, 0) for name in shown),
            format_labels(pod.get("nodeSelector")),
            age(obj["metadata"].get("creationTimestamp"), now),
            *template_cells(spec),
        ]


class StatefulSet(Kind):
    initial_status: ClassVar[Object] = {"replicas": 0, "availableReplicas": 0}
    has_generation = True
    columns = (NAME, Column("Ready", description="Number of the pod with ready state"), AGE, *CONTAINER_COLUMNS)

    def check_name(self, name: str) -> list[str]:
        """Its pods are named after it, and their names are labels of theirs."""
        return names.dns_label(name)

    def default(self, obj: Object) -> None:
        default_statefulset(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_statefulset(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + validate_statefulset_change(obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        shares = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        status = obj.get("status") or {}
        errors = super().validate_status(obj, old)
        errors += validate_counts(status, old.get("status") or {}, "replicas", *shares)
        return errors + validate_shares(status, shares, ready="status.readyReplicas")

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return [
            obj["metadata"].get("name", ""),
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            age(obj["metadata"].get("creationTimestamp"), now),
            *template_cells(spec)[:2],
        ]


class ControllerRevision(Kind):
    columns = (
        NAME,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description="Revision indicates the revision of the state represented by Data."),
        AGE,
    )

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = [fields.required("data", "data is mandatory")] if obj.get("data") is None else []
        return errors + non_negative(obj.get("revision"), "revision")

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return self.validate_spec(obj) + unchanged(obj, old, "data", "data")

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
        return [
            metadata.get("name", ""),
            _owner(owner) if owner else NONE,
            obj.get("revision", 0),
            age(metadata.get("creationTimestamp"), now),
        ]


def _count_template(daemonset: Object, count: int) -> None:
    metadata = daemonset["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


def _owner(owner: Object) -> str:
    """``deployment.apps/web``"""
    group = owner["apiVersion"].rpartition("/")[0]
    kind = owner["kind"].lower()
    return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
