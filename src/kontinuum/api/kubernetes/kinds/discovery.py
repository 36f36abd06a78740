"""discovery.k8s.io: EndpointSlices, which say where the traffic of a Service may go."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.networking import default_endpoint_slice
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row, some
from kontinuum.api.kubernetes.validation.discovery import validate_endpoint_slice
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class EndpointSlice(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("AddressType", description="The type of address carried by this EndpointSlice."),
        Column("Ports", description="The list of network ports exposed by each endpoint in this slice."),
        Column("Endpoints", description="The list of unique endpoints in this slice."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_endpoint_slice(obj)

    def is_changed(self, obj: Object, old: Object) -> bool:
        """Labels count too: they say which Service a slice belongs to."""
        labels = obj["metadata"].get("labels") or {}, old["metadata"].get("labels") or {}
        return labels[0] != labels[1] or super().is_changed(obj, old)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validate_endpoint_slice(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = validate_endpoint_slice(obj)
        if obj.get("addressType") != old.get("addressType"):
            errors.append(fields.invalid("addressType", obj.get("addressType", ""), "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        # A port without a number stands for all of them, and is named if it has a name.
        ports = [str(port.get("port", port.get("name") or "*")) for port in obj.get("ports") or ()]
        addresses = [one for endpoint in obj.get("endpoints") or () for one in endpoint.get("addresses") or ()]
        return row(obj, now, obj.get("addressType", ""), some(ports), some(addresses))
