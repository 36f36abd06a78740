"""One ResourceQuota as counting and deciding see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from kontinuum.api.kubernetes.amounts import Amounts, add, in_words, is_more, mask, without_zeros
from kontinuum.api.kubernetes.quota.scopes import matches, requirements_of
from kontinuum.api.kubernetes.quota.usage import of_containers, usage_of
from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.resources import Resource

DEMANDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""Where these are limited, every container has to say how much it wants."""


@dataclass(frozen=True)
class Quota:
    """``spec`` is a ResourceQuota's."""

    name: str
    spec: Object

    @staticmethod
    def of(obj: Object) -> Quota:
        return Quota(name_of(obj), obj.get("spec") or {})

    @cached_property
    def hard(self) -> Amounts:
        return dict(self.spec.get("hard") or {})

    @cached_property
    def _requirements(self) -> list[Object]:
        return requirements_of(self.spec)

    @property
    def is_scoped(self) -> bool:
        return bool(self._requirements)

    def charge(self, resource: Resource, obj: Object, now: float) -> Amounts:
        """What ``obj`` uses of this quota; empty if the quota does not mean it."""
        used = mask(usage_of(resource, obj, now), self.hard)
        return used if used and matches(self._requirements, resource, obj) else {}

    def missing(self, resource: Resource, obj: Object) -> str:
        """What the containers of a new pod have to say and do not, in Kubernetes' words; "" if nothing."""
        demanded = DEMANDED & self.hard.keys()
        if resource != PODS or not demanded or not matches(self._requirements, resource, obj):
            return ""
        spec = obj.get("spec") or {}
        of_pod = _named(spec)
        wanting: dict[str, set[str]] = {}
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            for name in demanded - _named(container) - of_pod:
                wanting.setdefault(name, set()).add(container.get("name", ""))
        if not wanting:
            return ""
        parts = [f"{name} for: {','.join(sorted(wanting[name]))}" for name in sorted(wanting)]
        return f"failed quota: {self.name}: must specify {'; '.join(parts)}"

    def excess(self, used: Mapping[str, str], more: Mapping[str, str]) -> str:
        """What there is no room for, in Kubernetes' words, if ``more`` is added to ``used``; "" if all fits."""
        more = without_zeros(more)
        total = add(mask(used, more), more)
        over = [name for name in more if is_more(total[name], self.hard[name])]
        if not over:
            return ""
        return (
            f"exceeded quota: {self.name}, requested: {in_words(mask(more, over))}, "
            f"used: {in_words({name: used.get(name, '0') for name in over})}, "
            f"limited: {in_words(mask(self.hard, over))}"
        )


def total(quota: Quota, resource: Resource, objects: Iterable[Object], now: float) -> Amounts:
    """What all ``objects`` use of ``quota``."""
    used: Amounts = {}
    for obj in objects:
        used = add(used, quota.charge(resource, obj, now))
    return used


def _named(holder: Object) -> set[str]:
    resources = holder.get("resources") or {}
    return set(of_containers(resources.get("requests") or {}, resources.get("limits") or {}))
