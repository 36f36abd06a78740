"""Who goes first when the node is short of something. Pure.

Pods that use more than they asked for come before the others; then the less important before the more important; then
those that use most above what they asked for. Process numbers cannot be asked for: there only priority and use count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, pods
from kontinuum.node.eviction.thresholds import IMAGEFS, MEMORY, NODEFS, PIDS, Threshold
from kontinuum.node.usage.values import NOTHING, PodUsage

SYSTEM_CRITICAL = 2_000_000_000
"""Pods of at least this priority are the node's own business, and stay."""
CLASSES = {"system-cluster-critical": SYSTEM_CRITICAL, "system-node-critical": SYSTEM_CRITICAL + 1000}


def is_critical(pod: Object) -> bool:
    """Whether the pod may not be evicted: static pods, and pods of the system's own priority."""
    return pods.is_static(pod) or pods.is_mirror(pod) or priority(pod) >= SYSTEM_CRITICAL


def priority(pod: Object) -> int:
    """A static pod's class was looked up by nobody; it can name those that every cluster has."""
    known = pod["spec"].get("priority")
    return int(CLASSES.get(pod["spec"].get("priorityClassName"), 0) if known is None else known)


def used(signal: str, usage: PodUsage, *, has_image_disk: bool) -> int:
    """What a pod takes of that which ``signal`` is about.

    Where images have a disk of their own, containers' writable layers lie there and all else on the node's.
    """
    if signal == MEMORY:
        return usage.memory
    if signal == PIDS:
        return usage.processes
    layers, others = usage.layers, usage.logs + usage.local_volumes
    disk = layers + others if not has_image_disk else layers if signal.startswith("imagefs") else others
    return disk.bytes if signal in (NODEFS, IMAGEFS) else disk.inodes


def requested(signal: str, pod: Object) -> int:
    if signal == MEMORY:
        return cgroups.pod_request(pod, "memory")
    if signal in (NODEFS, IMAGEFS):
        return cgroups.pod_request(pod, "ephemeral-storage")
    return 0


def ranked(
    candidates: Iterable[Object], usage: Mapping[str, PodUsage], threshold: Threshold, *, has_image_disk: bool
) -> list[Object]:
    """``candidates`` in the order in which they would be evicted; ``usage`` is by UID."""

    def key(pod: Object) -> tuple[bool, int, int, str]:
        takes = used(threshold.signal, usage.get(pod["metadata"]["uid"], NOTHING), has_image_disk=has_image_disk)
        above = takes - requested(threshold.signal, pod)
        exceeds = above > 0 and threshold.signal != PIDS
        return not exceeds, priority(pod), -above, pods.describe(pod)

    return sorted((pod for pod in candidates if not is_critical(pod)), key=key)


def container_requests(pod: Object, resource: str) -> dict[str, int]:
    """What each of the pod's ordinary containers asks for of ``memory`` or ``ephemeral-storage``, in bytes."""
    return {
        one["name"]: quantity.value(pods.resources(one, "requests").get(resource, "0")) for one in pods.containers(pod)
    }
