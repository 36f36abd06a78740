"""Volumes that are directories of a node: what controllers and nodes say to each other about them.

    node         labelled NODE_LABEL, annotated ROOT: it keeps such volumes, and where
    controllers  make a PersistentVolume below ROOT that only this node can reach; the directory appears when a pod
                 first uses it
    controllers  annotate the node with ``erase_key(volume)`` when the volume's data is to end (reclaim policy Delete)
    node         removes the directory, then the annotation; only then does the PersistentVolume go

A node may annotate nothing but itself, and reads the volumes of its own pods alone: no rights beyond Kubernetes' are
needed for this.
"""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object, annotations_of, name_of

PROVISIONER = "kontinuum.dev/host-path"
NODE_LABEL = "kontinuum.dev/host-path-volumes"
ROOT = "kontinuum.dev/host-path-root"
"""The node's directory of volumes, an absolute path."""
ERASE = "erase.kontinuum.dev/"
FINALIZER = "kontinuum.dev/host-path"
"""On a volume: its directory may still be there."""


def volume_name(claim_uid: str) -> str:
    """One claim, one volume: made twice, it is made once."""
    return f"pvc-{claim_uid}"


def erase_key(volume: str) -> str:
    """The annotation of a node that asks it to remove a volume's directory."""
    return f"{ERASE}{volume}"


def to_erase(node: Object) -> list[str]:
    """The names of the volumes whose directories the node is asked to remove."""
    return sorted(key.removeprefix(ERASE) for key in annotations_of(node) if key.startswith(ERASE))


def root_of(node: Object) -> str:
    """Where the node keeps its volumes; "" if it keeps none."""
    return annotations_of(node).get(ROOT, "")


def hostname_of(node: Object) -> str:
    """The value of ``kubernetes.io/hostname`` that a volume's node affinity names."""
    labels = node["metadata"].get("labels") or {}
    return str(labels.get("kubernetes.io/hostname") or name_of(node))
