"""PersistentVolumes and their claims, decided: how both should be, given what is known (``pv_controller.go``).

    claim   Pending ──a volume fits, or is made──▶ Bound ──its volume is gone, or somebody else's──▶ Lost
    volume  Available ──claimRef──▶ Bound ──its claim is gone──▶ Released ──cannot be reclaimed──▶ Failed

A binding is four writes: the volume, its status, the claim, its status. Whoever dies in between leaves a volume whose
``claimRef`` says what was meant, and the next look goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.binding import BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONED_BY
from kontinuum.api.kubernetes.claims import class_of
from kontinuum.api.machinery.objects import Object, annotations_of, name_of, uid_of
from kontinuum.api.machinery.patches import copy
from kontinuum.controllers.lib.notices import Notice

PRE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
"""On a volume whose file system has not grown with it yet: how large that is."""
IN_TREE = "kubernetes.io/"
MIGRATED = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
"""What was once built in, and which CSI driver does it now."""
EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
    "registered."
)
LOST_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
LOST_VOLUME = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"
NOTHING_AVAILABLE = "no persistent volumes available for this claim and no storage class is set"
NO_RECYCLER = "No recycler plugin found for the volume!"


@dataclass(frozen=True, slots=True)
class Decision:
    """How a volume and a claim should be (None: as they are), and what their people should know."""

    volume: Object | None = None
    claim: Object | None = None
    about_claim: list[Notice] = field(default_factory=list)
    about_volume: list[Notice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an unbound claim is decided by."""

    volume: Object | None = None
    """The one that the claim names."""
    candidates: Sequence[Object] = ()
    """Volumes of its class that nobody has, and those that are reserved for it."""
    storage_class: Object | None = None
    default_class: Object | None = None
    waiting_pods: Sequence[str] = ()
    """Names of pods that use the claim and have no node."""


def decide_claim(claim: Object, around: Surroundings) -> Decision:
    """What becomes of a claim."""
    if BIND_COMPLETED in annotations_of(claim):
        return _bound_claim(claim, around.volume)
    if binding.volume_of(claim):
        return _asking_claim(claim, around.volume)
    delayed = binding.is_delayed(claim, around.storage_class)
    found = binding.matches(claim, around.candidates)
    if found and (not delayed or binding.is_meant_for(found[0], claim)):
        return bind(found[0], claim)
    if around.default_class is not None and not binding.has_class(claim):
        new = copy(claim)
        new["spec"]["storageClassName"] = name_of(around.default_class)
        return Decision(claim=new)
    if delayed and binding.SELECTED_NODE not in annotations_of(claim):
        return Decision(claim=_unbound(claim, "Pending"), about_claim=[_waiting(around.waiting_pods)])
    if class_of(claim):
        return _provision(claim, around.storage_class)
    notice = Notice("Normal", "FailedBinding", NOTHING_AVAILABLE)
    return Decision(claim=_unbound(claim, "Pending"), about_claim=[notice])


def decide_volume(volume: Object, claim: Object | None) -> Decision:
    """What becomes of a volume; ``claim`` is what its ``claimRef`` names, if that exists."""
    reference = volume["spec"].get("claimRef")
    if reference is None or not reference.get("uid"):
        return Decision(volume=_in_phase(volume, "Available"))
    if claim is None or uid_of(claim) != reference["uid"]:
        return _reclaim(volume)
    named = binding.volume_of(claim)
    if named == name_of(volume):
        return Decision(volume=_in_phase(volume, "Bound"))
    if named:
        is_ours_to_end = (
            PROVISIONED_BY in annotations_of(volume) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        )
        return _reclaim(volume) if is_ours_to_end else Decision(volume=_unbind(volume))
    if not binding.have_same_mode(volume, claim):
        return _modes_differ(volume, claim)
    return Decision()  # The claim's own turn finishes the binding.


def bind(volume: Object, claim: Object) -> Decision:
    """Both, bound to each other."""
    new_volume = _in_phase(binding.bound_volume(volume, claim), "Bound")
    new_claim = copy(claim)
    if binding.volume_of(claim) != name_of(volume):
        new_claim["spec"]["volumeName"] = name_of(volume)
        binding.annotate(new_claim, BOUND_BY_CONTROLLER)
    if BIND_COMPLETED not in annotations_of(claim):
        binding.annotate(new_claim, BIND_COMPLETED)
    new_claim["status"] = _bound_status(claim, volume)
    return Decision(new_volume, new_claim)


def is_gone_claim(volume: Object, claim: Object | None) -> bool:
    """True if the volume is about to be released for want of its claim: worth asking the API first."""
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    released = (volume.get("status") or {}).get("phase") in ("Released", "Failed")
    return bool(uid) and not released and (claim is None or uid_of(claim) != uid)


def _bound_claim(claim: Object, volume: Object | None) -> Decision:
    if not binding.volume_of(claim):
        return _lost(claim, "ClaimLost", LOST_REFERENCE)
    if volume is None:
        return _lost(claim, "ClaimLost", LOST_VOLUME)
    reference = volume["spec"].get("claimRef")
    if reference is None or reference.get("uid") == uid_of(claim):
        return bind(volume, claim)
    return _lost(claim, "ClaimMisbound", MISBOUND)


def _asking_claim(claim: Object, volume: Object | None) -> Decision:
    """A claim whose user chose the volume."""
    pending = _unbound(claim, "Pending")
    if volume is None:
        return Decision(claim=pending)
    if volume["spec"].get("claimRef") is None:
        if problem := binding.mismatch(volume, claim):
            text = f'Cannot bind to requested volume "{name_of(volume)}": {problem}'
            return Decision(claim=pending, about_claim=[Notice("Warning", "VolumeMismatch", text)])
        return bind(volume, claim)
    if binding.is_meant_for(volume, claim):
        return bind(volume, claim)
    text = f'volume "{name_of(volume)}" already bound to a different claim.'
    return Decision(claim=pending, about_claim=[Notice("Warning", "FailedBinding", text)])


def _provision(claim: Object, storage_class: Object | None) -> Decision:
    """Ask whoever makes volumes of the class."""
    name: str = (storage_class or {}).get("provisioner", "")
    problem = ""
    if storage_class is None:
        problem = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
    elif name.startswith(IN_TREE) and name not in MIGRATED:
        problem = f"no volume plugin matched name: {name}"
    if problem:
        return Decision(about_claim=[Notice("Warning", "ProvisioningFailed", problem)])
    provisioner = MIGRATED.get(name, name)
    new = copy(claim)
    if annotations_of(claim).get(binding.PROVISIONER) != provisioner:
        binding.annotate(new, binding.BETA_PROVISIONER, provisioner)
        binding.annotate(new, binding.PROVISIONER, provisioner)
    notice = Notice("Normal", "ExternalProvisioning", EXTERNAL.format(provisioner))
    return Decision(claim=new, about_claim=[notice])


def _waiting(pods: Sequence[str]) -> Notice:
    if not pods:
        text = "waiting for first consumer to be created before binding"
        return Notice("Normal", "WaitForFirstConsumer", text)
    names = ",".join(pods)
    text = f"waiting for pods {names} to be scheduled" if len(pods) > 1 else f"waiting for pod {names} to be scheduled"
    return Notice("Normal", "WaitForPodScheduled", text)


def _lost(claim: Object, reason: str, message: str) -> Decision:
    # A claim that is Lost already has been told so.
    told = (claim.get("status") or {}).get("phase") == "Lost"
    notices = [] if told else [Notice("Warning", reason, message)]
    return Decision(claim=_unbound(claim, "Lost"), about_claim=notices)


def _unbound(claim: Object, phase: str) -> Object:
    status = {
        key: value
        for key, value in (claim.get("status") or {}).items()
        if key not in ("accessModes", "capacity", "currentVolumeAttributesClassName")
    }
    return {**claim, "status": {**status, "phase": phase}}


def _bound_status(claim: Object, volume: Object) -> Object:
    """A bound claim's capacity may lag behind its volume's, while a file system grows: it is set at binding alone."""
    old = claim.get("status") or {}
    status = {**old, "phase": "Bound", "accessModes": volume["spec"].get("accessModes") or []}
    if old.get("phase") == "Bound":
        return status
    if before := annotations_of(volume).get(PRE_RESIZE):
        status["capacity"] = {**(old.get("capacity") or {}), "storage": before}
    else:
        status["capacity"] = dict(volume["spec"].get("capacity") or {})
    name = volume["spec"].get("volumeAttributesClassName")
    if name is not None and old.get("phase", "Pending") == "Pending":
        status["currentVolumeAttributesClassName"] = name
    return status


def _in_phase(volume: Object, phase: str) -> Object:
    status = volume.get("status") or {}
    if status.get("phase") == phase:
        return volume
    return {**volume, "status": {**{key: value for key, value in status.items() if key != "message"}, "phase": phase}}


def _unbind(volume: Object) -> Object:
    """Take our binding back; a user's reservation stays, for another claim of that name."""
    new = copy(volume)
    if BOUND_BY_CONTROLLER in annotations_of(volume):
        del new["spec"]["claimRef"]
        binding.unannotate(new, BOUND_BY_CONTROLLER)
    else:
        new["spec"]["claimRef"].pop("uid")
    return _in_phase(new, "Available")


def _modes_differ(volume: Object, claim: Object) -> Decision:
    to_volume = (
        f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name_of(claim)}" '
        "due to incompatible volumeMode."
    )
    to_claim = (
        f'Cannot bind PersistentVolume "{name_of(volume)}" to requested PersistentVolumeClaim '
        "due to incompatible volumeMode."
    )
    return Decision(
        about_claim=[Notice("Warning", "VolumeMismatch", to_claim)],
        about_volume=[Notice("Warning", "VolumeMismatch", to_volume)],
    )


def _reclaim(volume: Object) -> Decision:
    """A volume whose claim is gone. Its data ends with policy Delete alone, by whoever made it."""
    phase = (volume.get("status") or {}).get("phase")
    released = volume if phase == "Failed" else _in_phase(volume, "Released")
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    if policy == "Recycle":
        return _failed(volume, "VolumeFailedRecycle", NO_RECYCLER)
    if policy == "Delete" and not _has_deleter(volume):
        text = f'error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
        return _failed(volume, "VolumeFailedDelete", text)
    if policy not in ("Retain", "Delete"):
        return _failed(volume, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
    return Decision(volume=released)


def _has_deleter(volume: Object) -> bool:
    """Somebody outside will delete it: its provisioner, or the CSI driver that it is of."""
    provisioner = annotations_of(volume).get(PROVISIONED_BY, "")
    if provisioner:
        return not provisioner.startswith(IN_TREE) or provisioner in MIGRATED
    return "csi" in volume["spec"]


def _failed(volume: Object, reason: str, message: str) -> Decision:
    status = volume.get("status") or {}
    if status.get("phase") == "Failed":
        return Decision()
    new = {**volume, "status": {**status, "phase": "Failed", "message": message}}
    return Decision(volume=new, about_volume=[Notice("Warning", reason, message)])
