"""Defaults of PersistentVolumes and of claims for them."""

from __future__ import annotations

from kontinuum.api.kubernetes.defaults.pods import fill
from kontinuum.api.machinery.objects import Object


def default_claim(claim: Object) -> None:
    default_claim_spec(claim.setdefault("spec", {}))
    fill(claim.setdefault("status", {}), phase="Pending")


def default_claim_spec(spec: Object) -> None:
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("resources", {})


def default_claim_template(claim: Object) -> None:
    """A claim in a StatefulSet: Kubernetes stores it as a whole claim, kind and all."""
    claim.setdefault("kind", "PersistentVolumeClaim")
    claim.setdefault("apiVersion", "v1")
    claim.setdefault("metadata", {})
    default_claim(claim)


def default_volume(volume: Object) -> None:
    spec = volume.setdefault("spec", {})
    fill(spec, persistentVolumeReclaimPolicy="Retain")
    spec.setdefault("volumeMode", "Filesystem")
    fill(volume.setdefault("status", {}), phase="Pending")
    default_volume_source(spec)


def default_volume_source(source: Object) -> None:
    """What some kinds of storage leave open, in volumes and in pods alike."""
    if isinstance(source.get("hostPath"), dict):
        source["hostPath"].setdefault("type", "")
    if isinstance(source.get("iscsi"), dict):
        fill(source["iscsi"], iscsiInterface="default")
    if isinstance(source.get("rbd"), dict):
        fill(source["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if isinstance(source.get("azureDisk"), dict):
        disk = source["azureDisk"]
        for field, value in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
            disk.setdefault(field, value)
    if isinstance(source.get("scaleIO"), dict):
        fill(source["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")
