"""apiregistration.k8s.io: APIServices, which say who answers a group version."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.apiregistration import SERVICE_PORT, availability, is_local, local_condition
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.kubernetes.validation.apiregistration import validate_api_service
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class APIService(Kind):
    qualified_finalizers = False
    columns = (
        NAME,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE,
    )

    def check_name(self, name: str) -> list[str]:
        """It follows from the spec, and is looked at there."""
        return []

    def default(self, obj: Object) -> None:
        service = (obj.get("spec") or {}).get("service")
        if service is not None:
            service.setdefault("port", SERVICE_PORT)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if is_local(obj):
            obj["status"] = {"conditions": [local_condition(obj["metadata"]["creationTimestamp"])]}

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_api_service(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        service = (obj.get("spec") or {}).get("service")
        shown = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
        return row(obj, now, shown, availability(obj))
