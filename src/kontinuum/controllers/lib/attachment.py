"""Which volumes are attached to which nodes, decided (``attachdetach``): one volume, all nodes that have or want it.

    wanted, nowhere attached ──▶ attach ──driver──▶ attached ──reported to the node──▶ mounted
    wanted, elsewhere        ──▶ Multi-Attach error, unless many may have it; waits
    not wanted ──still mounted──▶ wait ──node unhealthy for long, or known to be off──▶ detach
               └─not mounted────▶ detach ──driver──▶ gone

The attachment object stands for the volume's being there from before the driver is asked until after it has let go, so
that a volume which one node alone may write to has one such object at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of
from kontinuum.controllers.lib.notices import Notice
from kontinuum.controllers.lib.pods import is_finished, is_leaving, node_of
from kontinuum.controllers.lib.taints import OUT_OF_SERVICE

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
"""On a node whose agent leaves attaching to the controller."""
KEEP_TERMINATED = "volumes.kubernetes.io/keep-terminated-pod-volumes"
EXCLUSIVE = "Volume is already exclusively attached to one node and can't be attached to another"
SHARED_MODES = {"ReadWriteMany", "ReadOnlyMany"}


@dataclass(frozen=True, slots=True)
class Detachment:
    """One attachment to end; ``is_forced`` although the node may still have it mounted."""

    attachment: Object
    is_forced: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about one volume."""

    attach: list[str] = field(default_factory=list)
    """Names of nodes."""
    detach: list[Detachment] = field(default_factory=list)
    tell: dict[str, list[Notice]] = field(default_factory=dict)
    """By node: what its pods should know."""
    unwanted: frozenset[str] = frozenset()
    """Nodes that have the volume though nobody there wants it: how long that has been so may come to matter."""
    look_after: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of one volume."""

    volume: Object
    wanted: Mapping[str, Sequence[Object]]
    """By node: the pods there that use it."""
    attachments: Sequence[Object]
    nodes: Mapping[str, Object]
    """Those that exist, of all nodes that have or want it."""
    idle: Mapping[str, float]
    """By node: for how many seconds nobody there has wanted it."""


def plan(situation: Situation, *, force_after: float) -> Plan:
    """``force_after`` are seconds until an unhealthy node loses what it has mounted; 0: never."""
    by_node = {one["spec"]["nodeName"]: one for one in situation.attachments}
    detach: list[Detachment] = []
    waits: list[float] = []
    unwanted = frozenset(by_node.keys() - situation.wanted.keys())
    for node in sorted(unwanted):
        if is_leaving(by_node[node]):
            continue  # The driver is at it.
        wait = _seconds_until_detachable(situation, node, force_after)
        if wait == 0:
            detach.append(Detachment(by_node[node], _is_forced(situation, node)))
        elif wait is not None:
            waits.append(wait)
    attach: list[str] = []
    tell: dict[str, list[Notice]] = {}
    for node in sorted(situation.wanted):
        attachment = by_node.get(node)
        if attachment is not None:
            tell[node] = _outcome(situation.volume, attachment)
        elif not is_managed(situation.nodes.get(node)):
            continue
        elif may_be_shared(situation.volume) or not (by_node or attach):
            attach.append(node)
        else:
            tell[node] = [Notice("Warning", "FailedAttachVolume", "", node)]  # Each pod has its own text.
    return Plan(attach, detach, tell, unwanted, min(waits, default=None))


def new_attachment(volume: Object, node: str) -> Object:
    source = volume["spec"]["csi"]
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment_name(volume, node)},
        "spec": {
            "attacher": source["driver"],
            "nodeName": node,
            "source": {"persistentVolumeName": name_of(volume)},
        },
    }


def attachment_name(volume: Object, node: str) -> str:
    """As the kubelet looks for it: ``csi-`` and the SHA-256 of handle, driver and node."""
    source = volume["spec"]["csi"]
    return "csi-" + hashlib.sha256(f"{source['volumeHandle']}{source['driver']}{node}".encode()).hexdigest()


def unique_name(volume: Object) -> str:
    """How nodes name the volume in ``volumesInUse`` and ``volumesAttached``."""
    source = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}"


def must_attach(volume: Object, driver: Object | None) -> bool:
    """CSI volumes are attached unless their driver says that there is nothing to do."""
    return "csi" in volume["spec"] and ((driver or {}).get("spec") or {}).get("attachRequired", True) is not False


def may_be_shared(volume: Object) -> bool:
    """Whether several nodes may have it at once."""
    return bool(SHARED_MODES & set(volume["spec"].get("accessModes") or ()))


def is_managed(node: Object | None) -> bool:
    return node is not None and annotations_of(node).get(MANAGED) == "true"


def has_ended(pod: Object, node: Object | None) -> bool:
    """True if the pod no longer needs its volumes: it has finished, and its node does not keep them."""
    return is_finished(pod) and annotations_of(node or {"metadata": {}}).get(KEEP_TERMINATED) != "true"


def is_mounted(volume: Object, node: Object) -> bool:
    return unique_name(volume) in ((node.get("status") or {}).get("volumesInUse") or ())


def conflict_text(volume: Object, pod: Object, users: Sequence[Object]) -> str:
    """Why ``pod`` cannot have the volume; pods of other namespaces are not named to it."""
    local = sorted(name_of(one) for one in users if namespace_of(one) == namespace_of(pod))
    others = len(users) - len(local)
    text = EXCLUSIVE
    if local:
        text = f"Volume is already used by pod(s) {', '.join(local)}"
        text += f" and {others} pod(s) in different namespaces" if others else ""
    elif others:
        text = f"Volume is already used by {others} pod(s) in different namespaces"
    return f'Multi-Attach error for volume "{name_of(volume)}" {text}'


def reported(attachments: Sequence[Object], volumes: Mapping[str, Object], ending: Collection[str]) -> list[Object]:
    """A node's ``volumesAttached``; of ``ending`` attachments (by name) nothing may be mounted any more."""
    names = {
        unique_name(volume)
        for one in attachments
        if (one.get("status") or {}).get("attached") and not is_leaving(one) and name_of(one) not in ending
        if (volume := volumes.get(volume_of(one))) is not None
    }
    return [{"name": name, "devicePath": ""} for name in sorted(names)]


def volume_of(attachment: Object) -> str:
    return (attachment["spec"].get("source") or {}).get("persistentVolumeName") or ""


def users_elsewhere(wanted: Mapping[str, Sequence[Object]], attachments: Sequence[Object], node: str) -> list[Object]:
    """The pods that use a volume on the nodes that have it."""
    others = {one["spec"]["nodeName"] for one in attachments} - {node}
    return [pod for other in sorted(others) for pod in wanted.get(other, ()) if node_of(pod) == other]


def _seconds_until_detachable(situation: Situation, node: str, force_after: float) -> float | None:
    """0: now; None: when the node says that it has unmounted it."""
    found = situation.nodes.get(node)
    if found is not None and not is_managed(found):
        return None  # Its agent attaches and detaches by itself.
    if found is not None and (not is_mounted(situation.volume, found) or _is_out_of_service(found)):
        return 0
    if (found is not None and is_true(found, "Ready")) or not force_after:
        return None
    return max(0.0, force_after - situation.idle.get(node, 0.0))


def _is_forced(situation: Situation, node: str) -> bool:
    found = situation.nodes.get(node)
    return found is None or is_mounted(situation.volume, found)


def _is_out_of_service(node: Object) -> bool:
    """Somebody knows that the node is off (KEP-2268)."""
    return any(taint["key"] == OUT_OF_SERVICE for taint in (node.get("spec") or {}).get("taints") or ())


def _outcome(volume: Object, attachment: Object) -> list[Notice]:
    status = attachment.get("status") or {}
    name = name_of(volume)
    if status.get("attached"):
        # The space at the end is Kubernetes' own.
        return [Notice("Normal", "SuccessfulAttachVolume", f'AttachVolume.Attach succeeded for volume "{name}" ')]
    if problem := (status.get("attachError") or {}).get("message"):
        text = f'AttachVolume.Attach failed for volume "{name}" : {problem}'
        return [Notice("Warning", "FailedAttachVolume", text)]
    return []
