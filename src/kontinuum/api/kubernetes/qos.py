"""A pod's quality of service, from its containers' requests and limits (kubernetes ``pkg/apis/core/v1/helper/qos``)."""

from __future__ import annotations

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

COUNTED = ("cpu", "memory")


def qos_class(spec: Object) -> str:
    """``Guaranteed`` if every container has equal limits and requests of both, ``BestEffort`` if none has any."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [one.get("resources") or {} for one in containers]
    if not any(_counted(one, "requests") or _counted(one, "limits") for one in resources):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(one) for one in resources) else "Burstable"


def _is_guaranteed(resources: Object) -> bool:
    limits, requests = _counted(resources, "limits"), _counted(resources, "requests")
    return len(limits) == len(COUNTED) and all(requests.get(name, limit) == limit for name, limit in limits.items())


def _counted(resources: Object, side: str) -> Object:
    amounts = resources.get(side) or {}
    return {
        name: quantity.parse(amounts[name]) for name in COUNTED if name in amounts and quantity.parse(amounts[name])
    }
