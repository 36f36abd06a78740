"""Printer columns of a custom resource: what ``kubectl get`` shows beside the name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from kontinuum.api.kubernetes.custom.jsonpath import BadPath, Step, compile_path
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column
from kontinuum.api.kubernetes.tables import age
from kontinuum.api.machinery.objects import Object

DEFAULT = ({"name": "Age", "type": "date", "description": AGE.description, "jsonPath": ".metadata.creationTimestamp"},)
"""What is shown of a resource that names no columns."""


class Columns:
    """The columns of one version. A path that cannot be read shows nothing."""

    def __init__(self, sources: Sequence[Object]) -> None:
        chosen = sources or DEFAULT
        self.definitions = (NAME, *(_definition(one) for one in chosen))
        self._cells: list[tuple[Step, Callable[[Any, float], Any]]] = [_cell(one) for one in chosen]

    def cells(self, obj: Object, now: float) -> list[Any]:
        """One row; ``now`` is in seconds since the epoch."""
        found = [obj["metadata"].get("name", "")]
        for path, show in self._cells:
            value = next(iter(path(obj)), None)
            found.append(None if value is None else show(value, now))
        return found


def _definition(source: Object) -> Column:
    # Kubernetes' own words for a column without a description.
    path = source.get("jsonPath", "")
    description = source.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    kind = source.get("type", "string")
    return Column(source.get("name", ""), kind, source.get("format", ""), source.get("priority", 0), description)


def _cell(source: Object) -> tuple[Step, Callable[[Any, float], Any]]:
    try:
        path = compile_path(source.get("jsonPath", ""))
    except BadPath:
        path = _nothing
    return path, SHOWN.get(source.get("type", "string"), _text)


def _nothing(value: Any) -> Sequence[Any]:
    return ()


def _text(value: Any, now: float) -> Any:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _integer(value: Any, now: float) -> Any:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any, now: float) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boolean(value: Any, now: float) -> Any:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> Any:
    if not isinstance(value, str):
        return None
    try:
        return age(value, now)
    except ValueError:
        return "<invalid>"


SHOWN: dict[str, Callable[[Any, float], Any]] = {
    "string": _text, "integer": _integer, "number": _number, "boolean": _boolean, "date": _date,
}  # fmt: skip
