"""A pod's quality of service, from its containers' requests and limits (kubernetes ``pkg/apis/core/v1/helper/qos``)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kontinuum.api.kubernetes.pod_resources import of_the_whole
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object


def qos_class(spec: Object) -> str:
    """``Guaranteed`` if every container has equal limits and requests of both, ``BestEffort`` if none has any.

    What the pod says of itself as a whole comes before what its containers say.
    """
    if of_the_whole(spec, "limits") or of_the_whole(spec, "requests"):
        return _class_of(*_amounts(spec, "limits"), *_amounts(spec, "requests"))
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    found = {_class_of(*_amounts(one, "limits"), *_amounts(one, "requests")) for one in containers}
    return (found or {"BestEffort"}).pop() if len(found) < 2 else "Burstable"


def _amounts(holder: Object, side: str) -> tuple[Any, Any]:
    amounts = (holder.get("resources") or {}).get(side) or {}
    return amounts.get("cpu"), amounts.get("memory")


@lru_cache(maxsize=1024)
def _class_of(*amounts: Any) -> str:
    """The class of a container alone, by its limits of cpu and memory and its requests of both; None where absent."""
    counted = [quantity.parse(one) if one is not None else None for one in amounts]
    limits, requests = counted[:2], counted[2:]
    if not any(counted):
        return "BestEffort"
    is_whole = all(limits) and all(one in (None, 0, limit) for one, limit in zip(requests, limits, strict=True))
    return "Guaranteed" if is_whole else "Burstable"
