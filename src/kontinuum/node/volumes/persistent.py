"""``persistentVolumeClaim`` and ``ephemeral``: the claim's volume, if it is a disk or a directory of this node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kontinuum.host_path import PROVISIONER
from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import claimed_volumes, is_made_for
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object, annotations_of, name_of
from kontinuum.node import pods
from kontinuum.node.abilities import MACHINES
from kontinuum.node.volumes import host_path, provisioned
from kontinuum.node.volumes.context import CannotMount, Context, UnsupportedVolume


@dataclass(frozen=True, slots=True)
class Place:
    """Where a volume is; ``takes_group`` says whether it is given to the pod's ``fsGroup`` (hostPath never is)."""

    path: Path
    takes_group: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume that is an image, and who it is; ``is_for_machine``: of a pod that mounts it itself."""

    place: Path
    claim: Object
    volume: Object
    is_for_machine: bool

    @property
    def is_block(self) -> bool:
        return bool(self.volume["spec"].get("volumeMode") == "Block")

    @property
    def size_bytes(self) -> int:
        return quantity.value(self.volume["spec"]["capacity"]["storage"])


async def find(claim_name: str, context: Context, *, is_ephemeral: bool) -> Place | Disk:
    """Where the claim's volume is. Raises CannotMount and UnsupportedVolume, their messages in the kubelet's words."""
    handler = await context.sources.handler(pods.isolation_class(context.pod))
    where = f"{context.namespace}/{claim_name}"
    claim = await context.sources.get("persistentvolumeclaim", context.namespace, claim_name)
    if claim is None or (is_ephemeral and not is_made_for(claim, context.pod)):
        raise CannotMount(f"error processing PVC {where}: it was not created for the pod")
    if not binding.is_bound(claim) or (claim.get("status") or {}).get("phase") != "Bound":
        raise CannotMount(f"error processing PVC {where}: PVC is not bound")
    volume = await context.sources.get("persistentvolume", "", binding.volume_of(claim))
    if volume is None or not binding.is_meant_for(volume, claim):
        raise CannotMount(f"error processing PVC {where}: PV {binding.volume_of(claim)} is not bound to it")
    spec = volume["spec"]
    if "hostPath" in spec and annotations_of(volume).get(binding.PROVISIONED_BY) == PROVISIONER:
        place = Path(spec["hostPath"]["path"])
        if not provisioned.is_directory(place):
            _check_use(context.pod, claim_name, volume, handler)
            return Disk(place, claim, volume, handler in MACHINES)
    if handler in MACHINES:
        text = f"volume {name_of(volume)} is a directory of this node, and the isolation class {handler} needs a disk"
        raise UnsupportedVolume(f"{text}: use a volume of the provisioner {PROVISIONER}, or the class container")
    return _place(volume)


def _check_use(pod: Object, claim_name: str, volume: Object, handler: str) -> None:
    """Files are mounted, devices are had, in the kubelet's words. Raises UnsupportedVolume."""
    claimed = [one.volume for one in claimed_volumes(pod) if one.claim == claim_name]
    is_block = volume["spec"].get("volumeMode") == "Block"
    mode, wrong = ("Block", "volumeMounts") if is_block else ("Filesystem", "volumeDevices")
    for container in pods.all_containers(pod):
        for use in container.get(wrong) or ():
            if use["name"] in claimed:
                raise UnsupportedVolume(f"volume {use['name']} has volumeMode {mode}, but is specified in {wrong}")
    if is_block and handler == "sandbox":
        raise UnsupportedVolume(f"volume {name_of(volume)}: the isolation class {handler} has no block devices")
    only_read = [(one.get("persistentVolumeClaim") or {}).get("readOnly") for one in pod["spec"].get("volumes") or ()
                 if one["name"] in claimed]  # fmt: skip
    if is_block and handler in MACHINES and any(only_read):
        text = f"the isolation class {handler} has no block devices that are only read"
        raise UnsupportedVolume(f"volume {name_of(volume)}: {text}")


def _place(volume: Object) -> Place:
    spec = volume["spec"]
    if spec.get("volumeMode") == "Block":
        raise UnsupportedVolume(f"volume {name_of(volume)}: block volumes are not supported on this node")
    if "hostPath" in spec:
        is_ours = annotations_of(volume).get(binding.PROVISIONED_BY) == PROVISIONER
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
