"""PodTemplates, which nobody runs, and the health of components as it was told before there were probes."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.workloads import default_template
from kontinuum.api.kubernetes.kinds.kind import NAME, Column, Kind
from kontinuum.api.kubernetes.tables import containers_and_images, format_labels
from kontinuum.api.kubernetes.validation.pods import validate_template
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class PodTemplate(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Containers", description="Names of each container in the template."),
        Column("Images", description="Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    )

    def default(self, obj: Object) -> None:
        default_template(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_template(obj.get("template") or {}, "template")

    def cells(self, obj: Object, now: float) -> list[Any]:
        template = obj.get("template") or {}
        labels = (template.get("metadata") or {}).get("labels")
        return [
            obj["metadata"].get("name", ""),
            *containers_and_images(template.get("spec") or {}),
            format_labels(labels),
        ]


class ComponentStatus(Kind):
    columns = (
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    )

    def cells(self, obj: Object, now: float) -> list[Any]:
        status, message, error = "Unknown", "", ""
        for condition in obj.get("conditions") or ():
            if condition.get("type") == "Healthy":
                status = "Healthy" if condition.get("status") == "True" else "Unhealthy"
                message, error = condition.get("message", ""), condition.get("error", "")
                break
        return [obj["metadata"].get("name", ""), status, message, error]
