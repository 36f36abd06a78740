"""What is said of an eviction, word for word as the kubelet says it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node.eviction.plan import Observation
from kontinuum.node.eviction.ranking import container_requests
from kontinuum.node.eviction.thresholds import MEMORY, RESOURCES, Threshold
from kontinuum.node.usage.values import PodUsage

EVICTED = "Evicted"


def under_pressure(pressures: Iterable[str]) -> str:
    """Why a pod is not taken."""
    return f"The node had condition: [{', '.join(pressures)}]. "


def short(pod: Object, threshold: Threshold, observed: Observation, usage: PodUsage) -> str:
    """Why a pod had to go: what the node lacks, and which of the pod's containers used more than they asked for."""
    resource = RESOURCES[threshold.signal]
    least, available = _shown(threshold, threshold.least.of(observed.capacity)), _shown(threshold, observed.available)
    message = f"The node was low on resource: {resource}. Threshold quantity: {least}, available: {available}. "
    if resource not in ("memory", "ephemeral-storage"):
        return message
    for name, asked in container_requests(pod, resource).items():
        mine = usage.containers.get(name)
        if mine is None:
            continue
        takes = mine.memory if threshold.signal == MEMORY else mine.layer.bytes + mine.logs.bytes
        if takes > asked:
            amounts = f"was using {quantity.format_bytes(takes)}, request is {quantity.format_bytes(asked)}"
            message += f"Container {name} {amounts}, has larger consumption of {resource}. "
    return message


def _shown(threshold: Threshold, amount: int) -> str:
    counted = RESOURCES[threshold.signal] in ("inodes", "pids")
    return str(amount) if counted else quantity.format_bytes(amount)


def empty_dir_over(volume: str, limit: str) -> str:
    return f'Usage of EmptyDir volume "{volume}" exceeds the limit "{limit}". '


def pod_over(limit: str) -> str:
    return f"Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "


def container_over(container: str, limit: str) -> str:
    return f'Container {container} exceeded its local ephemeral storage limit "{limit}". '
