"""Volumes that are directories of a node, decided: made for a claim, grown with it, erased after it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from kontinuum.api.kontinuum.host_path import (
    FINALIZER,
    NODE_LABEL,
    PROVISIONER,
    hostname_of,
    root_of,
    to_erase,
    volume_name,
)
from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import class_of, size_of
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kontinuum.controllers.lib.expansion import wants_to_grow
from kontinuum.foundation.clock import rfc3339

PENDING = "FileSystemResizePending"
PENDING_MESSAGE = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
RESIZE_REQUIRED = "Require file system resize of volume on node"
ON_NODE = "kontinuum.dev/node"
"""On a volume: the node that has its directory."""
ASKED = "kontinuum.dev/erasing"
"""On a volume: its node has been asked to erase it; that the node no longer names it means that it has."""


def storage_class(name: str, *, is_default: bool) -> Object:
    """The class as it is created; an administrator may change or replace it."""
    terms = [{"matchLabelExpressions": [{"key": NODE_LABEL, "values": ["true"]}]}]
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if is_default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "allowedTopologies": terms,
    }


def is_ours(volume: Object) -> bool:
    return annotations_of(volume).get(binding.PROVISIONED_BY) == PROVISIONER


def is_asked_for(claim: Object) -> bool:
    """Whether a volume is to be made for the claim now."""
    wanted = annotations_of(claim).get(binding.PROVISIONER) == PROVISIONER
    return wanted and not binding.volume_of(claim) and "deletionTimestamp" not in claim["metadata"]


def problem(claim: Object, node: Object | None) -> str:
    """Why no volume can be made for the claim on the node that was selected; "" if one can."""
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "host-path volumes begin empty: a data source is not supported"
    if binding.SELECTED_NODE not in annotations_of(claim):
        return "no node was selected: use a StorageClass with volumeBindingMode WaitForFirstConsumer"
    if node is None or not root_of(node):
        name = annotations_of(claim)[binding.SELECTED_NODE]
        return f'node "{name}" keeps no host-path volumes: only nodes with the label {NODE_LABEL}=true do'
    return ""


def new_volume(claim: Object, node: Object, owner: Object | None) -> Object:
    """The volume for a claim; ``owner`` is its class, if that is still there."""
    name = volume_name(uid_of(claim))
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname_of(node)]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {binding.PROVISIONED_BY: PROVISIONER, ON_NODE: name_of(node)},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "accessModes": claim["spec"].get("accessModes") or [],
            "capacity": {"storage": size_of(claim)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace_of(claim),
                "name": name_of(claim),
                "uid": uid_of(claim),
                "resourceVersion": claim["metadata"].get("resourceVersion", ""),
            },
            "hostPath": {"path": f"{root_of(node).rstrip('/')}/{name}", "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": (owner or {}).get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": claim["spec"].get("volumeMode") or "Filesystem",
        },
    }


def growth(volume: Object, claim: Object | None) -> str:
    """The size that the volume is to have, a quantity; "" for as it is."""
    if claim is None or not wants_to_grow(claim) or binding.volume_of(claim) != name_of(volume):
        return ""
    return size_of(claim)


def is_pending(claim: Object) -> bool:
    """Whether the claim has been told that its node is next."""
    return any(one["type"] == PENDING for one in (claim.get("status") or {}).get("conditions") or ())


def pending(now: float) -> Object:
    """The condition that says so, in Kubernetes' words; the node takes it away."""
    return {"type": PENDING, "status": "True", "lastTransitionTime": rfc3339(now), "message": PENDING_MESSAGE}


class End(Enum):
    """How far a volume's end is."""

    NOT_YET = auto()
    """It is in use, or kept."""
    ASK = auto()
    """The node is to be asked to erase it."""
    WAIT = auto()
    """The node is at it, or away."""
    LET_GO = auto()
    """Its data is gone, or is no longer ours: the volume may go."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What the API itself says of the volume's node."""

    node: Object | None


def end_of(volume: Object, where: Whereabouts) -> End:
    """What is next for a volume whose claim is gone, or that somebody deleted."""
    is_leaving = "deletionTimestamp" in volume["metadata"]
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return End.LET_GO if is_leaving else End.NOT_YET
    if (volume.get("status") or {}).get("phase") != "Released":
        return End.NOT_YET
    if where.node is None:
        return End.LET_GO
    if ASKED not in annotations_of(volume):
        return End.ASK
    return End.WAIT if name_of(volume) in to_erase(where.node) else End.LET_GO


def is_ending(volume: Object) -> bool:
    """Whether it is worth asking where it is."""
    released = (volume.get("status") or {}).get("phase") == "Released"
    return is_ours(volume) and (released or "deletionTimestamp" in volume["metadata"])
