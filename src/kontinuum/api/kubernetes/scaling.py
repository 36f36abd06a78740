"""Where a kind keeps what its ``scale`` subresource shows: the replicas wanted and there, and the pods' selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object


class Scaling(Protocol):
    """Of one kind."""

    def wanted(self, obj: Object) -> int | None:
        """None if the object does not say, and there is no default."""
        ...

    def present(self, obj: Object) -> int:
        """How many there are."""
        ...

    def selector(self, obj: Object) -> str:
        """Which pods they are, as a label selector's text."""
        ...

    def scaled(self, obj: Object, replicas: int) -> Object:
        """A copy of ``obj``, but for what has not changed, that wants so many."""
        ...


class WorkloadScaling:
    """Deployments, ReplicaSets and their like: ``spec.replicas``, ``status.replicas``, ``spec.selector``."""

    def wanted(self, obj: Object) -> int:
        replicas = (obj.get("spec") or {}).get("replicas")
        return 1 if replicas is None else int(replicas)

    def present(self, obj: Object) -> int:
        return (obj.get("status") or {}).get("replicas") or 0

    def selector(self, obj: Object) -> str:
        return str(from_object((obj.get("spec") or {}).get("selector")))

    def scaled(self, obj: Object, replicas: int) -> Object:
        return {**obj, "spec": {**(obj.get("spec") or {}), "replicas": replicas}}


@dataclass(frozen=True, slots=True)
class PathScaling:
    """Custom resources: the paths that their definition names (``.spec.replicas``)."""

    wanted_path: str
    present_path: str
    selector_path: str = ""

    def wanted(self, obj: Object) -> int | None:
        found = _read(obj, self.wanted_path)
        return found if isinstance(found, int) else None

    def present(self, obj: Object) -> int:
        found = _read(obj, self.present_path)
        return found if isinstance(found, int) else 0

    def selector(self, obj: Object) -> str:
        found = _read(obj, self.selector_path) if self.selector_path else None
        return found if isinstance(found, str) else ""

    def scaled(self, obj: Object, replicas: int) -> Object:
        written: Object = _written(obj, self.wanted_path.removeprefix(".").split("."), replicas)
        return written


def _read(obj: Object, path: str) -> Any:
    found: Any = obj
    for name in path.removeprefix(".").split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _written(obj: Any, names: list[str], value: Any) -> Any:
    if not names:
        return value
    below = obj if isinstance(obj, dict) else {}
    return {**below, names[0]: _written(below.get(names[0]), names[1:], value)}
