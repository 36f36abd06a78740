"""What the scheduler reads of pods and nodes, and what it keeps of them: pure functions of objects."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object

_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")
_POD_SPEC = (
    "nodeName", "schedulerName", "schedulingGates", "nodeSelector", "affinity", "tolerations", "overhead",
    "priority", "preemptionPolicy", "resources",
)  # fmt: skip
_CONTAINER = ("name", "resources", "ports", "restartPolicy")


def trim_pod(pod: Object) -> Object:
    """The pod without what no decision depends on: about a fifth of it."""
    spec = _pick(pod["spec"], _POD_SPEC)
    for field in ("containers", "initContainers"):
        if containers := pod["spec"].get(field):
            spec[field] = [_pick(container, _CONTAINER) for container in containers]
    return {
        **_pick(pod, ("apiVersion", "kind")),
        "metadata": _pick(pod["metadata"], _METADATA),
        "spec": spec,
        "status": _pick(pod.get("status") or {}, ("phase", "conditions")),
    }


def trim_node(node: Object) -> Object:
    """The node without its images, addresses and heartbeats, which change often and decide nothing."""
    return {
        **_pick(node, ("apiVersion", "kind")),
        "metadata": _pick(node["metadata"], _METADATA),
        "spec": _pick(node.get("spec") or {}, ("taints", "unschedulable")),
        "status": _pick(node.get("status") or {}, ("allocatable",)),
    }


def node_of(pod: Object) -> str:
    """The node that the pod is bound to, or ""."""
    return pod["spec"].get("nodeName") or ""


def is_finished(pod: Object) -> bool:
    """True if the pod takes nothing any more, though it is still there to be read."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_waiting(pod: Object, scheduler_name: str) -> bool:
    """True if this scheduler is to find a node for the pod now."""
    spec = pod["spec"]
    return (
        not node_of(pod)
        and (spec.get("schedulerName") or "default-scheduler") == scheduler_name
        and "deletionTimestamp" not in pod["metadata"]
        and not spec.get("schedulingGates")
        and not is_finished(pod)
    )


def what_counts(pod: Object) -> Object:
    """What makes a difference to others of a pod that is on a node; its status does not."""
    metadata = pod["metadata"]
    return {"labels": metadata.get("labels"), "leaves": "deletionTimestamp" in metadata, "spec": pod["spec"]}


def priority_of(pod: Object) -> int:
    return pod["spec"].get("priority") or 0


def _pick(obj: Object, fields: tuple[str, ...]) -> Object:
    return {field: obj[field] for field in fields if field in obj}
