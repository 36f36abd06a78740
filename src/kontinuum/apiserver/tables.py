"""Objects as the rows that ``kubectl get`` prints (meta.k8s.io/v1 Table)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.context import Served

INCLUDES = ("None", "Metadata", "Object")


def table(served: Served, values: Sequence[bytes], *, include: str, now: float) -> Object:
    """A Table of stored ``values``; ``include`` is None, Metadata or Object. Raises ApiError 400."""
    if include not in INCLUDES:
        raise status.bad_request(f"unrecognized includeObject value: {include!r}")
    rows = []
    version = ""
    for value in values:
        obj: Object = orjson.loads(value)
        version = obj["metadata"].get("resourceVersion", "")
        rows.append({"cells": served.kind.cells(obj, now), "object": _object(obj, value, include)})
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": _columns(served),
        "rows": rows,
    }


def _columns(served: Served) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in served.kind.columns
    ]


def _object(obj: Object, value: bytes, include: str) -> Any:
    match include:
        case "None":
            return None
        case "Object":
            return orjson.Fragment(value)
        case _:
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
