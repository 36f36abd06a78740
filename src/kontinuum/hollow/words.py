"""What a hollow node writes: pure functions. The words are those of our node agent, and so of the kubelet."""

from __future__ import annotations

from kontinuum.api.machinery.conditions import get_condition, set_condition
from kontinuum.api.machinery.objects import Object, name_of, uid_of
from kontinuum.client.shapes import each, shape

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
NOT_READY = "node.kubernetes.io/not-ready"
ZONE = "topology.kubernetes.io/zone"
ROOM = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "1Ti", "pods": "110"}
SERVING = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""The conditions of a pod all of whose containers run."""


def node(name: str, *, zone: str = "", room: dict[str, str] | None = None, now: str) -> Object:
    """The Node as it registers itself. ``now`` is an RFC 3339 time."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels | ({ZONE: zone} if zone else {})},
        "spec": {},
        "status": {"capacity": room or ROOM, "allocatable": room or ROOM, **node_status({}, now)},
    }


def node_status(before: Object, now: str) -> Object:
    """The part of the status that says that the node is well. ``now`` is an RFC 3339 time."""
    conditions: list[Object] = list((before.get("status") or {}).get("conditions") or ())
    for kind in ("MemoryPressure", "DiskPressure", "PIDPressure"):
        conditions = set_condition(conditions, kind, False, now=now, reason="Kubelet" + kind, lastHeartbeatTime=now)
    conditions = set_condition(conditions, "Ready", True, now=now, reason="KubeletReady", lastHeartbeatTime=now)
    return {"conditions": conditions}


def is_doubted(node: Object) -> bool:
    """Whether nobody has said yet that it is well, or somebody else has said that nobody knows."""
    ready = get_condition(node, "Ready")
    return ready is None or ready["status"] == "Unknown"


def lease(registered: Object, now: str) -> Object:
    """The node's Lease, which goes with the Node. ``now`` is an RFC 3339 time with microseconds."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(registered), "uid": uid_of(registered)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name_of(registered), "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name_of(registered), "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
    }


def running(pod: Object, *, address: str, is_ready: bool, now: str) -> Object:
    """The status of a pod whose containers have started; ``is_ready`` False: whose image cannot be had."""
    state = {"running": {"startedAt": now}} if is_ready else {"waiting": {"reason": "ImagePullBackOff"}}
    before = pod.get("status") or {}
    conditions: list[Object] = list(before.get("conditions") or ())
    for kind in SERVING:
        conditions = set_condition(conditions, kind, is_ready or kind not in ("Ready", "ContainersReady"), now=now)
    return {
        "phase": "Running",
        "startTime": before.get("startTime") or now,
        "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": _containers(pod, state, is_ready=is_ready),
    }


def ended(pod: Object, *, code: int, now: str) -> Object:
    """The status of a pod whose containers have ended with ``code``."""
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now}}
    conditions: list[Object] = list((pod.get("status") or {}).get("conditions") or ())
    for kind in ("Ready", "ContainersReady"):
        reason = "PodFailed" if code else "PodCompleted"
        conditions = set_condition(conditions, kind, False, now=now, reason=reason)
    return {
        "phase": "Failed" if code else "Succeeded",
        "conditions": conditions,
        "containerStatuses": _containers(pod, state, is_ready=False),
    }


def _containers(pod: Object, state: Object, *, is_ready: bool) -> list[Object]:
    return [
        {
            "name": one["name"],
            "image": one.get("image", ""),
            "imageID": "",
            "ready": is_ready,
            "started": is_ready,
            "restartCount": 0,
            "state": state,
        }
        for one in pod["spec"]["containers"]
    ]


METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers", "annotations", "labels")
SPEC = ("nodeName", "restartPolicy", "affinity")
STATUS = ("phase", "conditions", "startTime")
POD = shape(
    metadata=shape(*METADATA), spec=shape(*SPEC, containers=each("name", "image")), status=shape(*STATUS)
)  # fmt: skip
"""What ``trim`` reads."""


def trim(pod: Object) -> Object:
    """What a hollow node reads of a pod: a cluster's pods are most of its memory."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    containers = [{"name": one["name"], "image": one.get("image", "")} for one in spec["containers"]]
    return {
        "metadata": {key: metadata[key] for key in METADATA if key in metadata},
        "spec": {"containers": containers} | {key: spec[key] for key in SPEC if key in spec},
        "status": {key: status[key] for key in STATUS if key in status},
    }


def trim_node(node: Object) -> Object:
    """Whether somebody doubts that it lives, and whether pods may come."""
    conditions = [one for one in (node.get("status") or {}).get("conditions") or () if one["type"] == "Ready"]
    metadata = {key: node["metadata"].get(key, "") for key in ("name", "uid", "resourceVersion")}
    taints = (node.get("spec") or {}).get("taints") or []
    return {"metadata": metadata, "spec": {"taints": taints}, "status": {"conditions": conditions}}


def is_open(node: Object) -> bool:
    """Whether the node is ready and the cluster has taken note: pods may come."""
    return not is_doubted(node) and all(one["key"] != NOT_READY for one in node["spec"]["taints"])
