"""How the rules of a kind are asked in tests: an object as it would be posted, and what is said about it."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.resources import Resource
from kontinuum.foundation.clock import rfc3339

NOW = 1_700_000_000.0


def made(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``obj`` as it is stored when it is created; its name is ``x`` if it has none."""
    kind = KINDS[resource]
    new: dict[str, Any] = copy(obj)
    meta = new.setdefault("metadata", {})
    meta.setdefault("name", "x")
    meta.setdefault("creationTimestamp", rfc3339(NOW - 65))
    if resource.namespaced:
        meta.setdefault("namespace", "default")
    kind.default(new)
    kind.prepare_create(new)
    return new


def problems(resource: Resource, obj: dict[str, Any]) -> list[str]:
    """What is wrong with ``obj`` as something new."""
    return [str(error) for error in KINDS[resource].validate(made(resource, obj), None)]


def changed(resource: Resource, obj: dict[str, Any], old: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What an update of ``old`` (as it was posted) to ``obj`` stores, and what is wrong with it."""
    before, new = made(resource, old), made(resource, obj)
    KINDS[resource].prepare_update(new, before)
    return new, [str(error) for error in KINDS[resource].validate(new, before)]


def row(resource: Resource, obj: dict[str, Any], **status: Any) -> dict[str, Any]:
    """The table's cells of ``obj`` by the names of their columns."""
    kind = KINDS[resource]
    new = made(resource, obj)
    if status:
        new["status"] = status
    return dict(zip([column.name for column in kind.columns], kind.cells(new, NOW), strict=True))
