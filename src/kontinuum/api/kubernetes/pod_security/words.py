"""What checks have in common: whose settings they look at, and how they name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kontinuum.api.machinery.fields import quoted
from kontinuum.api.machinery.objects import Object


class Violation(NamedTuple):
    """Why a pod does not meet a standard: in a word, and in detail."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class Pod(NamedTuple):
    """A pod, or the template of one."""

    metadata: Object
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """Of every kind, in the order in which violations name them."""
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return [one for kind in kinds for one in self.spec.get(kind) or ()]

    @property
    def security(self) -> Object:
        return self.spec.get("securityContext") or {}

    @property
    def is_windows(self) -> bool:
        return bool((self.spec.get("os") or {}).get("name") == "windows")


def security_of(container: Object) -> Object:
    return container.get("securityContext") or {}


def containers_named(containers: Iterable[Object]) -> str:
    """``container "a"`` or ``containers "a", "b"``"""
    return named("container", [one.get("name", "") for one in containers])


def named(noun: str, values: Sequence[Any]) -> str:
    return f"{plural(noun, values)} {listed(values)}"


def plural(noun: str, values: Sequence[Any]) -> str:
    return noun if len(values) == 1 else f"{noun}s"


def use(values: Sequence[Any]) -> str:
    return "uses" if len(values) == 1 else "use"


def listed(values: Iterable[str]) -> str:
    return ", ".join(quoted(one) for one in values)


def setters(pod_is_bad: bool, bad: Sequence[Object]) -> str:
    """``pod and container "a"``: who sets what must not be set; "" if nobody does."""
    parts = ["pod"] if pod_is_bad else []
    return " and ".join([*parts, *([containers_named(bad)] if bad else [])])
