"""The cluster's storage: what the API says, what has been given away since, and who uses what where.

Objects stay in their informers' caches (``Shelf``) and are decoded when a pod asks for them: most pods never do. What
is reserved for a pod that is about to be bound lies over them, until the API shows it or the pod gives it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kontinuum.api.kubernetes import binding
from kontinuum.api.kubernetes.claims import class_of
from kontinuum.api.kubernetes.resources import (
    CSIDRIVERS,
    CSISTORAGECAPACITIES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.client.informer import Cache, Index
from kontinuum.scheduler.storage.wishes import Disk, Wishes

UNBOUND, BY_CLAIM, BY_CLASS = "unbound", "claim", "class"
KINDS = (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES, CSIDRIVERS, CSISTORAGECAPACITIES)
"""What is looked up while deciding; CSINodes and VolumeAttachments are counted as they come and go."""
INDEXES: dict[Resource, dict[str, Index]] = {
    PERSISTENTVOLUMES: {
        UNBOUND: lambda volume: [] if binding.claim_key(volume) else [binding.class_of_volume(volume)],
        BY_CLAIM: lambda volume: [key] if (key := binding.claim_key(volume)) else [],
    },
    CSISTORAGECAPACITIES: {BY_CLASS: lambda capacity: [capacity.get("storageClassName", "")]},
}


class Shelf(Protocol):
    """What is needed of an informer, or of its cache."""

    def get(self, key: str) -> Object | None: ...

    def by_index(self, name: str, value: str) -> list[Object]: ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one pod will be given on one node; empty if all its claims are bound."""

    node: str
    volumes: tuple[tuple[str, str], ...] = ()
    """Names of volumes, each with the key of the claim that it is for."""
    provisions: tuple[str, ...] = ()
    """Keys of claims for which a volume is to be made on the node."""

    @property
    def is_empty(self) -> bool:
        return not self.volumes and not self.provisions


class Storage:
    """See the module."""

    def __init__(self) -> None:
        self.shelves: dict[Resource, Shelf] = {kind: Cache(INDEXES.get(kind, {})) for kind in KINDS}
        self.claims_used: dict[str, dict[int, int]] = {}
        """For each claim: the rows of nodes whose pods use it, and by how many pods."""
        self.disks_used: dict[Disk, dict[int, int]] = {}
        self.claims_on: dict[int, dict[str, int]] = {}
        """The same by row: the claims of its pods."""
        self.limits: dict[str, dict[str, int]] = {}
        """For each CSI driver: how many of its volumes a node can have, by node."""
        self.attached: dict[str, dict[str, str]] = {}
        """By node: the names of volumes that are attached there, by their attachment."""
        self.version = 0
        """Rises when what a pod with volumes is decided by may have changed."""
        self._given: dict[str, str] = {}
        self._selected: dict[str, str] = {}
        self._reservations: dict[str, Reservation] = {}

    def get(self, kind: Resource, key: str) -> Object | None:
        return self.shelves[kind].get(key)

    def claim(self, key: str) -> Object | None:
        """A claim; one that is to be provisioned for a pod carries the node already."""
        claim = self.get(PERSISTENTVOLUMECLAIMS, key)
        if claim is not None and (node := self._selected.get(key)):
            binding.annotate(claim, binding.SELECTED_NODE, node)
        return claim

    def volume(self, name: str) -> Object | None:
        return self.get(PERSISTENTVOLUMES, name)

    def storage_class(self, claim: Object) -> Object | None:
        name = class_of(claim)
        return self.get(STORAGECLASSES, name) if name else None

    def offers(self, claim: Object, key: str) -> Iterator[Object]:
        """Volumes that the claim might be given: those reserved for it, and those of its class that nobody has."""
        volumes = self.shelves[PERSISTENTVOLUMES]
        for volume in (*volumes.by_index(BY_CLAIM, key), *volumes.by_index(UNBOUND, class_of(claim))):
            if self._given.get(volume["metadata"]["name"], key) == key:
                yield volume

    def count(self, row: int, wishes: Wishes, sign: int) -> None:
        """Pods with these wishes come to a node (+1) or leave it (-1)."""
        if not wishes.claims and not wishes.disks:
            return
        for claimed in wishes.claims:
            key = wishes.key(claimed)
            _count(self.claims_used, key, row, sign)
            _count(self.claims_on, row, key, sign)
        for disk in wishes.disks:
            _count(self.disks_used, disk, row, sign)
        self.version += 1

    def reserve(self, uid: str, reservation: Reservation) -> None:
        """Set aside what a pod will be given."""
        self.release(uid)
        if reservation.is_empty:
            return
        self._reservations[uid] = reservation
        self._take(reservation)
        self.version += 1

    def release(self, uid: str) -> bool:
        """Let go of it; the API shows what came of it. False if there was nothing."""
        reservation = self._reservations.pop(uid, None)
        if reservation is None:
            return False
        # Pods may share a claim: what another has reserved stays.
        self._given, self._selected = {}, {}
        for one in self._reservations.values():
            self._take(one)
        self.version += 1
        return True

    def set_limits(self, node: str, drivers: Mapping[str, int]) -> None:
        """What a CSINode says: how many volumes the node can have of each driver that limits them."""
        for name in self.limits.keys() | drivers.keys():
            limits = self.limits.setdefault(name, {})
            limits.pop(node, None)
            if name in drivers:
                limits[node] = drivers[name]
            if not limits:
                del self.limits[name]
        self.version += 1

    def set_attachment(self, name: str, node: str, volume: str) -> None:
        """A volume is attached to a node, or about to be; with no volume it is not any more."""
        attached = self.attached.setdefault(node, {})
        attached.pop(name, None)
        if volume:
            attached[name] = volume
        if not attached:
            del self.attached[node]
        self.version += 1

    def _take(self, reservation: Reservation) -> None:
        self._given.update(reservation.volumes)
        self._selected.update(dict.fromkeys(reservation.provisions, reservation.node))

    def reservation(self, uid: str) -> Reservation | None:
        return self._reservations.get(uid)


Outer = TypeVar("Outer")
Inner = TypeVar("Inner")


def _count(counts: dict[Outer, dict[Inner, int]], outer: Outer, inner: Inner, sign: int) -> None:
    counted = counts.setdefault(outer, {})
    counted[inner] = counted.get(inner, 0) + sign
    if not counted[inner]:
        del counted[inner]
    if not counted:
        del counts[outer]
