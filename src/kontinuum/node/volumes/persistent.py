"""``persistentVolumeClaim`` and ``ephemeral``: the claim's volume, if it is a directory of this node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kontinuum.host_path import PROVISIONER
from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import is_made_for
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.node import pods
from kontinuum.node.volumes import host_path, provisioned
from kontinuum.node.volumes.context import CannotMount, Context, UnsupportedVolume

OF_MACHINES = ("microvm", "vm")
"""Handlers whose pods see a copy of what is on the host (decision 0007): what they wrote would be lost."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a volume is; ``takes_group`` says whether it is given to the pod's ``fsGroup`` (hostPath never is)."""

    path: Path
    takes_group: bool


async def prepare(claim_name: str, context: Context, *, is_ephemeral: bool) -> Place:
    """Where the claim's volume is. Raises CannotMount and UnsupportedVolume, their messages in the kubelet's words."""
    handler = await context.sources.handler(pods.isolation_class(context.pod))
    if handler in OF_MACHINES:
        text = "has no persistent volumes yet: use container or sandbox"
        raise UnsupportedVolume(f"the isolation class {handler} {text}")
    where = f"{context.namespace}/{claim_name}"
    claim = await context.sources.get("persistentvolumeclaim", context.namespace, claim_name)
    if claim is None or (is_ephemeral and not is_made_for(claim, context.pod)):
        raise CannotMount(f"error processing PVC {where}: it was not created for the pod")
    if not binding.is_bound(claim) or (claim.get("status") or {}).get("phase") != "Bound":
        raise CannotMount(f"error processing PVC {where}: PVC is not bound")
    volume = await context.sources.get("persistentvolume", "", binding.volume_of(claim))
    if volume is None or not binding.is_meant_for(volume, claim):
        raise CannotMount(f"error processing PVC {where}: PV {binding.volume_of(claim)} is not bound to it")
    return _place(volume)


def _place(volume: Object) -> Place:
    spec = volume["spec"]
    if spec.get("volumeMode") == "Block":
        raise UnsupportedVolume(f"volume {name_of(volume)}: block volumes are not supported on this node")
    if "hostPath" in spec:
        is_ours = annotations_of(volume).get(binding.PROVISIONED_BY) == PROVISIONER
        if is_ours:
            provisioned.prepare(Path(spec["hostPath"]["path"]))
        return Place(host_path.prepare(spec["hostPath"]), takes_group=is_ours)
    if "local" in spec:
        path = Path(spec["local"]["path"])
        if not path.is_dir():
            raise CannotMount(f"local volume {name_of(volume)}: {path} is not a directory of this node")
        return Place(path, takes_group=True)
    kind = next((key for key in spec if key in KINDS), "this")
    raise UnsupportedVolume(f"volume {name_of(volume)}: volumes of type {kind} are not supported on this node")


KINDS = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd",
    "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip
