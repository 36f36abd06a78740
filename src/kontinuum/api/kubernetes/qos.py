"""A pod's quality of service, from its containers' requests and limits (kubernetes ``pkg/apis/core/v1/helper/qos``)."""

from __future__ import annotations

from decimal import Decimal

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

COUNTED = ("cpu", "memory")
Amounts = dict[str, Decimal]


def qos_class(spec: Object) -> str:
    """``Guaranteed`` if every container has equal limits and requests of both, ``BestEffort`` if none has any."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    sides = [(_counted(one, "limits"), _counted(one, "requests")) for one in containers]
    if not any(limits or requests for limits, requests in sides):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(limits, requests) for limits, requests in sides) else "Burstable"


def _is_guaranteed(limits: Amounts, requests: Amounts) -> bool:
    return len(limits) == len(COUNTED) and all(requests.get(name, limit) == limit for name, limit in limits.items())


def _counted(container: Object, side: str) -> Amounts:
    amounts = (container.get("resources") or {}).get(side) or {}
    found = ((name, quantity.parse(amounts[name])) for name in COUNTED if name in amounts)
    return {name: amount for name, amount in found if amount}
