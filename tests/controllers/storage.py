"""Volumes, claims and classes as users and provisioners write them, and what people are told about them."""

from __future__ import annotations

from typing import Any

from tests.controllers.cluster import Cluster

from kontinuum.api.kubernetes.resources import EVENTS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from kontinuum.api.machinery.objects import Object, name_of

PROVISIONER = "csi.example.com"


def volume(name: str, size: str = "1Gi", **spec: Any) -> Object:
    """A volume of a CSI driver."""
    source = {"csi": {"driver": PROVISIONER, "volumeHandle": name}}
    common = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "volumeMode": "Filesystem"}
    common["persistentVolumeReclaimPolicy"] = "Retain"
    return {"metadata": {"name": name}, "spec": {**common, **source, **spec}}


def claim(name: str, size: str = "1Gi", namespace: str = "default", **spec: Any) -> Object:
    common = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    common |= {"volumeMode": "Filesystem"}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {**common, **spec}}


def storage_class(name: str, *, waits: bool = False, default: bool = False, **more: Any) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    mode = "WaitForFirstConsumer" if waits else "Immediate"
    metadata = {"name": name, "annotations": annotations}
    return {"metadata": metadata, "provisioner": PROVISIONER, "volumeBindingMode": mode, **more}


def only_on(node: str) -> Object:
    """The node affinity of a volume that one node alone can reach."""
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


async def create(cluster: Cluster, *objects: Object) -> None:
    """Create volumes, claims and classes, each by what its fields say it is."""
    for obj in objects:
        if "provisioner" in obj:
            await cluster.client.create(STORAGECLASSES, obj)
        elif "capacity" in obj["spec"]:
            await cluster.client.create(PERSISTENTVOLUMES, obj)
        else:
            await cluster.client.create(PERSISTENTVOLUMECLAIMS, obj)


def get_claim(cluster: Cluster, name: str, namespace: str = "default") -> Object:
    found = cluster.api.storage.get(PERSISTENTVOLUMECLAIMS, f"{namespace}/{name}")
    assert found is not None
    return found


def get_volume(cluster: Cluster, name: str) -> Object:
    found = cluster.api.storage.get(PERSISTENTVOLUMES, name)
    assert found is not None
    return found


def bindings(cluster: Cluster) -> dict[str, str]:
    """Every claim that is Bound, and its volume."""
    return {
        name_of(one): one["spec"]["volumeName"]
        for one in cluster.everything(PERSISTENTVOLUMECLAIMS)
        if one["status"].get("phase") == "Bound"
    }


def phases(cluster: Cluster) -> dict[str, str]:
    """The phase of every volume."""
    return {name_of(one): one["status"].get("phase", "") for one in cluster.everything(PERSISTENTVOLUMES)}


def events(cluster: Cluster, name: str, *, kind: str = "") -> list[str]:
    """``Type Reason: message`` of everything that was told about the objects of that name, the oldest first."""
    return [
        f"{one['type']} {one['reason']}: {one['message']}"
        for one in sorted(cluster.everything(EVENTS), key=lambda one: one["metadata"]["creationTimestamp"])
        if one["involvedObject"]["name"] == name and kind in ("", one["involvedObject"]["kind"])
    ]
