"""What happened in the cluster, as far as it can help a pod that found no node."""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.client.informer import Change

NODE, ASSIGNED_POD, WAITING_POD = "Node", "AssignedPod", "WaitingPod"
"""Kinds of events: a node; a pod that is on a node (or assumed to be); a pod that waits for one. Any other kind goes by
the name of its resource's kind, ``PersistentVolumeClaim`` say."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change, told when the snapshot has it already."""

    kind: str
    change: Change
    new: Object
    """As it is now; if it was deleted, as it was last. Trimmed as the informer trims it."""
    old: Object | None = None
    """As it was before an update."""
