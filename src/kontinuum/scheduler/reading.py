"""What the scheduler reads of pods and nodes, and what it keeps of them: pure functions of objects."""

from __future__ import annotations

from collections.abc import Mapping

from kontinuum.api.kubernetes import topology
from kontinuum.api.machinery.objects import Object, labels_of
from kontinuum.client.shapes import each, shape
from kontinuum.scheduler.storage.wishes import trim_volumes

_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")
_POD_METADATA = (*_METADATA, "generation")
_POD_SPEC = (
    "nodeName", "schedulerName", "schedulingGates", "nodeSelector", "affinity", "tolerations", "overhead",
    "priority", "preemptionPolicy", "resources", "topologySpreadConstraints",
)  # fmt: skip
_POD_STATUS = ("phase", "conditions", "startTime", "nominatedNodeName")
_CONTAINER = ("name", "image", "resources", "ports", "restartPolicy")
_RESIZED = ("allocatedResources", "resources")
_CONTAINER_STATUSES = ("containerStatuses", "initContainerStatuses")
POD = shape(
    "apiVersion", "kind",
    metadata=shape(*_POD_METADATA, "ownerReferences"),
    spec=shape(*_POD_SPEC, "volumes", containers=each(*_CONTAINER), initContainers=each(*_CONTAINER)),
    status=shape(
        *_POD_STATUS, *_RESIZED,
        containerStatuses=each("name", *_RESIZED), initContainerStatuses=each("name", *_RESIZED),
    ),
)  # fmt: skip
"""What ``trim_pod`` reads."""


def trim_pod(pod: Object) -> Object:
    """The pod without what no decision depends on: about a fifth of it."""
    spec = _pick(pod["spec"], _POD_SPEC)
    for field in ("containers", "initContainers"):
        if containers := pod["spec"].get(field):
            spec[field] = [_pick(container, _CONTAINER) for container in containers]
    if volumes := trim_volumes(pod["spec"].get("volumes") or ()):
        spec["volumes"] = volumes
    status = pod.get("status") or {}
    owners = [one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")]
    return {
        **_pick(pod, ("apiVersion", "kind")),
        "metadata": _pick(pod["metadata"], _POD_METADATA) | ({"ownerReferences": owners} if owners else {}),
        "spec": spec,
        "status": _pick(status, (*_POD_STATUS, *_RESIZED)) | _resized(pod["spec"], status),
    }


def _resized(spec: Object, status: Object) -> Object:
    """Container statuses whose resources are not those of the spec (a resize is under way, or cannot be)."""
    told = [one for field in _CONTAINER_STATUSES for one in status.get(field) or () if one.get("resources")]
    if not told:
        return {}
    asked = {
        one["name"]: (one.get("resources") or {}).get("requests") or {}
        for field in ("containers", "initContainers")
        for one in spec.get(field) or ()
    }
    kept: Object = {}
    for field in _CONTAINER_STATUSES:
        for one in status.get(field) or ():
            requests = (one.get("resources") or {}).get("requests") or {}
            allocated = one.get("allocatedResources") or requests
            if one.get("resources") and (requests, allocated) != (asked.get(one["name"]),) * 2:
                kept.setdefault(field, []).append(_pick(one, ("name", *_RESIZED)))
    return kept


def trim_node(node: Object) -> Object:
    """The node without its addresses and heartbeats, which change often and decide nothing."""
    return {
        **_pick(node, ("apiVersion", "kind")),
        "metadata": _pick(node["metadata"], _METADATA),
        "spec": _pick(node.get("spec") or {}, ("taints", "unschedulable")),
        "status": _pick(node.get("status") or {}, ("allocatable", "images")),
    }


def node_of(pod: Object) -> str:
    """The node that the pod is bound to, or ""."""
    return pod["spec"].get("nodeName") or ""


def is_finished(pod: Object) -> bool:
    """True if the pod takes nothing any more, though it is still there to be read."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def scheduler_of(pod: Object) -> str:
    """Who is to find a node for the pod."""
    return pod["spec"].get("schedulerName") or "default-scheduler"


def is_waiting(pod: Object) -> bool:
    """True if whoever schedules the pod is to find a node for it now."""
    spec = pod["spec"]
    return (
        not node_of(pod)
        and "deletionTimestamp" not in pod["metadata"]
        and not spec.get("schedulingGates")
        and not is_finished(pod)
    )


def what_counts(pod: Object) -> Object:
    """What makes a difference to others of a pod that is on a node; of its status, only how it was resized."""
    metadata = pod["metadata"]
    resized = _pick(pod["status"], ("containerStatuses", "initContainerStatuses", *_RESIZED))
    return {
        "labels": metadata.get("labels"),
        "leaves": "deletionTimestamp" in metadata,
        "spec": pod["spec"],
        "resized": resized,
        "infeasible": resized and pod["status"].get("conditions"),
    }


def labelled_as_on(pod: Object, node_labels: Mapping[str, str]) -> Object:
    """A pod that waits, with the labels that the API will give it on a node with these; itself if it has them."""
    own = labels_of(pod)
    labels = topology.labels_on(node_labels, own)
    return pod if labels == own else {**pod, "metadata": {**pod["metadata"], "labels": labels}}


def is_only_bound(pod: Object, old: Object) -> bool:
    """True if the pod is what it was when it waited, but for its node: what it takes there is known already."""
    before, now = what_counts(old), what_counts(pod)
    return before | {"spec": {**before["spec"], "nodeName": node_of(pod)}} == now


def promised_node(pod: Object) -> str:
    """``status.nominatedNodeName``, or ""."""
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def priority_of(pod: Object) -> int:
    return pod["spec"].get("priority") or 0


def _pick(obj: Object, fields: tuple[str, ...]) -> Object:
    return {field: obj[field] for field in fields if field in obj}
