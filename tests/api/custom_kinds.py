"""Custom kinds for tests, made of a schema without any server."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.custom.kind import CustomKind
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.resources import Resource

POND = Resource("ponds.example", "v1", "Pond", "ponds", namespaced=True, singular="pond", subresources=("status",))


def kind_of(spec: dict[str, Any], **version: Any) -> CustomKind:
    """A kind whose ``spec`` has this schema."""
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    return CustomKind(POND, {"name": "v1", "schema": {"openAPIV3Schema": schema}, **version})


def pond(spec: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    metadata["resourceVersion"] = "1"
    return {"apiVersion": "ponds.example/v1", "kind": "Pond", "metadata": metadata, "spec": spec}


def texts(errors: list[FieldError]) -> list[str]:
    return [str(one) for one in errors]


def problems(kind: CustomKind, spec: Any, old: Any = ...) -> list[str]:
    """What is wrong with a creation, or with an update of ``old``."""
    return texts(kind.validate(pond(spec), None if old is ... else pond(old)))
