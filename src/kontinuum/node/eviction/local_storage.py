"""Whether a pod has written more to this node's disk than it may: its volumes, all of it, one container. Pure."""

from __future__ import annotations

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, pods
from kontinuum.node.eviction import words
from kontinuum.node.usage.values import PodUsage

KIND = "ephemeral-storage"


def excess(pod: Object, usage: PodUsage) -> str:
    """Why the pod has to go, or "". The kubelet's order: emptyDir volumes, the pod, its containers."""
    return _of_volumes(pod, usage) or _of_pod(pod, usage) or _of_containers(pod, usage)


def is_limited(pod: Object) -> bool:
    """Whether ``excess`` could ever say anything."""
    limited = any((volume.get("emptyDir") or {}).get("sizeLimit") for volume in pod["spec"].get("volumes") or ())
    return limited or any(KIND in pods.resources(one, "limits") for one in pods.all_containers(pod))


def _of_volumes(pod: Object, usage: PodUsage) -> str:
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        taken = usage.volumes.get(volume["name"])
        if limit and quantity.value(limit) > 0 and taken is not None and taken.disk.bytes > quantity.value(limit):
            return words.empty_dir_over(volume["name"], quantity.canonical(limit))
    return ""


def _of_pod(pod: Object, usage: PodUsage) -> str:
    limit = cgroups.pod_total(pod, "limits", KIND)
    if limit and (usage.layers + usage.logs + usage.local_volumes).bytes > limit:
        return words.pod_over(quantity.format_bytes(limit))
    return ""


def _of_containers(pod: Object, usage: PodUsage) -> str:
    for container in pods.all_containers(pod):
        limit = pods.resources(container, "limits").get(KIND)
        mine = usage.containers.get(container["name"])
        if limit and mine is not None and mine.layer.bytes + mine.logs.bytes > quantity.value(limit):
            return words.container_over(container["name"], quantity.canonical(limit))
    return ""
