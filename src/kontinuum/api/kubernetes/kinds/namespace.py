"""Namespaces: born active, labelled with their own name, and kept by a finalizer until they are empty."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, keep
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

NAME_LABEL = "kubernetes.io/metadata.name"


class Namespace(Kind):
    columns = (NAME, Column("Status", description="The status of the namespace"), AGE)
    selectable = ("status.phase", "name")
    read_for_selection = ("status.phase", "metadata.name")

    def check_name(self, name: str) -> list[str]:
        return names.dns_label(name)

    def default(self, obj: Object) -> None:
        _label(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        _label(obj)
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, obj: Object, old: Object) -> None:
        """Its finalizers go through the ``finalize`` subresource only."""
        super().prepare_update(obj, old)
        keep(obj, old, "spec")

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        errors = super().validate_status(obj, old)
        phase = (obj.get("status") or {}).get("phase")
        if not obj["metadata"].get("deletionTimestamp") and phase != "Active":
            errors.append(fields.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"))
        if obj["metadata"].get("deletionTimestamp") and phase != "Terminating":
            problem = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            errors.append(fields.invalid("status.Phase", phase, problem))
        return errors

    def fields(self, obj: Object) -> dict[str, str]:
        phase = (obj.get("status") or {}).get("phase", "")
        return {"status.phase": phase, "name": obj["metadata"]["name"]}

    def cells(self, obj: Object, now: float) -> list[Any]:
        metadata = obj["metadata"]
        phase = (obj.get("status") or {}).get("phase", "")
        return [metadata.get("name", ""), phase, age(metadata.get("creationTimestamp"), now)]


def _label(obj: Object) -> None:
    metadata = obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}
