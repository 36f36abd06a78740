"""Arithmetic of what pods ask for and nodes have. Amounts are integers: see ``demand``.

Kubernetes' rules: component-helpers ``resource.PodRequests``; KEP-753 (sidecars), KEP-1287 (resize in place), KEP-2837
(resources of the pod as a whole).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object

CPU, MEMORY, PODS, EPHEMERAL_STORAGE = "cpu", "memory", "pods", "ephemeral-storage"

LARGEST = 2**60
"""Larger amounts count as this: sums of a node's pods must stay within 64 bits."""

ASSUMED = {CPU: 100, MEMORY: 200 << 20}
"""What a container that asks for nothing is thought to use when nodes are compared (Kubernetes' non-zero requests)."""

Amounts = dict[str, int]


def pod_requests(pod: Object, *, assumed: Amounts | None = None) -> Amounts:
    """What the whole pod asks for. With ``assumed``, containers that say nothing of a resource ask for that.

    Containers and sidecars run together and add up; an ordinary init container runs alone beside the sidecars before
    it; the greater of the two counts. Requests of the pod as a whole replace that for the resources they name. The
    overhead of the RuntimeClass comes on top.
    """
    spec, status = pod["spec"], pod.get("status") or {}
    resized = _Resized(status)
    running: Amounts = {}
    for container in spec.get("containers") or ():
        _add(running, resized.requests(container, assumed))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        beside = dict(sidecars)
        _add(beside, resized.requests(container, assumed))
        if container.get("restartPolicy") == "Always":
            sidecars = beside
        _raise_to(peak, beside)
    _add(running, sidecars)
    _raise_to(running, peak)
    overhead = amounts(spec.get("overhead"))
    if whole := _of_the_whole(spec):
        running.update(resized.whole(whole, status, overhead))
    _add(running, overhead)
    return running


def allocatable(node: Object) -> Amounts:
    """What a node has to give."""
    return amounts((node.get("status") or {}).get("allocatable"))


def amounts(quantities: dict[str, Any] | None) -> Amounts:
    return {name: _amount(name, text) for name, text in (quantities or {}).items()}


class _Resized:
    """What the status says of resources that were changed in place, or are about to be.

    Until a resize is done, the largest of what is wanted, what the node has granted and what is in force counts; a
    resize that the node called infeasible is not wanted any more.
    """

    def __init__(self, status: Object) -> None:
        self._granted = {
            one["name"]: one
            for field in ("containerStatuses", "initContainerStatuses")
            for one in status.get(field) or ()
            if one.get("resources")
        }
        self._infeasible = bool(self._granted or status.get("allocatedResources")) and any(
            one["type"] == "PodResizePending" and one.get("reason") == "Infeasible"
            for one in status.get("conditions") or ()
        )

    def requests(self, container: Object, assumed: Amounts | None) -> Amounts:
        asked = amounts((container.get("resources") or {}).get("requests"))
        if granted := self._granted.get(container["name"]):
            asked = self._largest(asked, granted)
        return {**assumed, **asked} if assumed else asked

    def whole(self, asked: Amounts, status: Object, overhead: Amounts) -> Amounts:
        """The same for the resources of the pod as a whole; what its status says includes the overhead."""
        if not (status.get("resources") or status.get("allocatedResources")):
            return asked
        largest = self._largest({}, status)
        without = {name: amount - overhead.get(name, 0) for name, amount in largest.items() if name in asked}
        if self._infeasible:
            return {**asked, **without}
        _raise_to(without, asked)
        return without

    def _largest(self, asked: Amounts, granted: Object) -> Amounts:
        largest = {} if self._infeasible else dict(asked)
        _raise_to(largest, amounts((granted.get("resources") or {}).get("requests")))
        _raise_to(largest, amounts(granted.get("allocatedResources")))
        return largest


def _of_the_whole(spec: Object) -> Amounts:
    """Only cpu, memory and huge pages can be asked for by the pod as a whole."""
    asked = amounts((spec.get("resources") or {}).get("requests"))
    return {name: one for name, one in asked.items() if name in (CPU, MEMORY) or name.startswith("hugepages-")}


@lru_cache(maxsize=4096)
def _amount(name: str, text: str | int | float) -> int:
    return min(LARGEST, quantity.milli(text) if name == CPU else quantity.value(text))


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: Amounts, least: Amounts) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)
