"""What a whole pod asks for and may use at most (component-helpers ``resource.PodRequests`` and ``PodLimits``).

Containers and sidecars run together and add up; an ordinary init container runs alone beside the sidecars before it;
the greater of the two counts. Amounts of the pod as a whole replace that for the resources they name. The overhead of
the RuntimeClass comes on top, of limits only where there is one. Amounts are quantities as text, so that they are told
in the form in which they were given.
"""

from __future__ import annotations

from typing import Literal

from kontinuum.api.kubernetes.amounts import Amounts, add, raise_to
from kontinuum.api.machinery.objects import Object

Side = Literal["requests", "limits"]


def pod_requests(spec: Object, *, with_overhead: bool = True) -> Amounts:
    """See the module. ``spec`` is the pod's."""
    total = _containers_and_pod(spec, "requests")
    return add(total, spec.get("overhead") or {}) if with_overhead else total


def pod_limits(spec: Object, *, with_overhead: bool = True) -> Amounts:
    """See the module. A resource that no container limits has no limit here."""
    total = _containers_and_pod(spec, "limits")
    overhead = spec.get("overhead") or {}
    return add(total, {name: overhead[name] for name in overhead.keys() & total.keys()}) if with_overhead else total


def container_amounts(spec: Object, side: Side) -> Amounts:
    """What the containers need together, whatever is said of the pod as a whole."""
    return _containers_and_pod({**spec, "resources": {}}, side)


def of_the_whole(spec: Object, side: Side) -> Amounts:
    """Amounts that the pod names for all of its containers together (KEP-2837): cpu, memory and huge pages."""
    return {name: amount for name, amount in _amounts(spec, side).items() if is_for_pods(name)}


def is_for_pods(name: str) -> bool:
    """Whether pods as a whole can name an amount of this resource."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _containers_and_pod(spec: Object, side: Side) -> Amounts:
    running: Amounts = {}
    for container in spec.get("containers") or ():
        running = add(running, _amounts(container, side))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        beside = add(sidecars, _amounts(container, side))
        if container.get("restartPolicy") == "Always":
            sidecars = beside
        peak = raise_to(peak, beside)
    return {**raise_to(add(running, sidecars), peak), **_amounts(spec, side)}


def _amounts(holder: Object, side: Side) -> Amounts:
    found: Amounts = (holder.get("resources") or {}).get(side) or {}
    return found
