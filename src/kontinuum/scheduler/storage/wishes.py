"""What a pod's volumes ask of a node: its claims, and disks that it names itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kontinuum.api.kubernetes.claims import ClaimedVolume, claimed_volumes
from kontinuum.api.machinery.objects import Object, name_of, namespace_of, uid_of


class Disk(NamedTuple):
    """A disk of a built-in kind that pods name directly; ``name`` is compared, monitors need only overlap."""

    kind: str
    name: str
    monitors: tuple[str, ...] = ()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """A pod's claims and disks."""

    namespace: str
    pod: str
    uid: str
    claims: tuple[ClaimedVolume, ...]
    disks: tuple[Disk, ...]

    def key(self, claim: ClaimedVolume) -> str:
        """Under which informers keep the claim."""
        return f"{self.namespace}/{claim.claim}"


NOTHING = Wishes("", "", "", (), ())
"""What most pods ask for."""


def read_wishes(pod: Object) -> Wishes:
    volumes = pod["spec"].get("volumes")
    if not volumes:
        return NOTHING
    claims, disks = tuple(claimed_volumes(pod)), tuple(_disks(volumes))
    return Wishes(namespace_of(pod), name_of(pod), uid_of(pod), claims, disks) if claims or disks else NOTHING


def trim_volumes(volumes: Iterable[Object]) -> list[Object]:
    """The volumes that ``read_wishes`` reads, and images, which are looked for on nodes."""
    kinds = ("image", "persistentVolumeClaim", "ephemeral", "gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")
    kept = []
    for volume in volumes:
        for kind in kinds:
            if kind in volume:
                source = {} if kind == "ephemeral" else volume[kind]
                kept.append({"name": volume.get("name", ""), kind: source})
    return kept


def collide(one: Disk, other: Disk) -> bool:
    """True if two pods with these disks cannot be on one node (``isVolumeConflict``)."""
    if (one.kind, one.name) != (other.kind, other.name):
        return False
    if one.monitors and not set(one.monitors) & set(other.monitors):
        return False
    # Of the Elastic Block Store even two readers are too many.
    return one.kind == "awsElasticBlockStore" or not (one.read_only and other.read_only)


def _disks(volumes: Iterable[Object]) -> Iterable[Disk]:
    for volume in volumes:
        for kind, field in (("gcePersistentDisk", "pdName"), ("awsElasticBlockStore", "volumeID"), ("iscsi", "iqn")):
            if source := volume.get(kind):
                yield Disk(kind, source.get(field, ""), (), bool(source.get("readOnly")))
        if source := volume.get("rbd"):
            name = f"{source.get('pool') or 'rbd'}/{source.get('image', '')}"
            yield Disk("rbd", name, tuple(sorted(source.get("monitors") or ())), bool(source.get("readOnly")))
