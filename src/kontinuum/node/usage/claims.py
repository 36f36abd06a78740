"""How full the volumes of claims are: asked of the file system that a pod sees, or of the disk that its machine has."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kontinuum.api.kubernetes.claims import claimed_volumes
from kontinuum.api.machinery.objects import Object, namespace_of
from kontinuum.node.usage.exposition import Family

_BLKGETSIZE64 = 0x80081272
_BLOCK = 512
"""Of ``st_blocks``, whatever the file system's own are."""


@dataclass(frozen=True, slots=True)
class ClaimReading:
    """One volume of a pod, in bytes and inodes; None: that cannot be told from outside."""

    volume: str
    claim: str
    capacity: int
    available: int | None = None
    used: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None

    @property
    def inodes_used(self) -> int | None:
        return None if self.inodes is None or self.inodes_free is None else self.inodes - self.inodes_free


class _Description(msgspec.Struct):
    """Of a machine's disk, as far as it matters here (``runtime.disk_volumes``)."""

    image: str
    file_system: str = msgspec.field(default="", name="fileSystem")


def read(pod: Object, places: Mapping[str, Path]) -> Iterator[ClaimReading]:
    """``places``: where each of the pod's volumes is. A volume that is not there (any more) is left out."""
    for one in claimed_volumes(pod):
        if one.volume in places:
            try:
                yield _read(one.volume, one.claim, places[one.volume])
            except (OSError, msgspec.MsgspecError):
                continue


def metrics(known: Iterable[tuple[Object, Mapping[str, Path]]]) -> Iterator[Family]:
    """``kubelet_volume_stats_*``, once for each claim, of pods and the places of their volumes."""
    families = {
        field: Family(f"kubelet_volume_stats_{name}", "gauge", f"[ALPHA] {told} in the volume")
        for field, name, told in (
            ("capacity", "capacity_bytes", "Capacity in bytes"),
            ("available", "available_bytes", "Number of available bytes"),
            ("used", "used_bytes", "Number of used bytes"),
            ("inodes", "inodes", "Maximum number of inodes"),
            ("inodes_free", "inodes_free", "Number of free inodes"),
            ("inodes_used", "inodes_used", "Number of used inodes"),
        )
    }
    told: set[tuple[str, str]] = set()
    for pod, places in known:
        for one in read(pod, places):
            claim = (namespace_of(pod), one.claim)
            if claim in told:
                continue
            told.add(claim)
            for field, family in families.items():
                value = getattr(one, field)
                if value is not None:
                    family.add(value, {"namespace": claim[0], "persistentvolumeclaim": claim[1]})
    yield from families.values()


def _read(volume: str, claim: str, place: Path) -> ClaimReading:
    description = place.with_name(f"{place.name}.disk")
    if description.exists():
        said = msgspec.json.decode(description.read_bytes(), type=_Description)
        image = Path(said.image).stat()
        if not said.file_system:
            return ClaimReading(volume, claim, image.st_size)
        # Its file system is the guest's to read. What the image takes of this machine's disk is what was ever written
        # to it: never less than what is in it, and more where files were deleted.
        taken = min(image.st_size, image.st_blocks * _BLOCK)
        return ClaimReading(volume, claim, image.st_size, image.st_size - taken, taken)
    if stat.S_ISBLK(place.stat().st_mode):
        return ClaimReading(volume, claim, _size_of_device(place))
    found = os.statvfs(place)
    unit = found.f_frsize
    return ClaimReading(
        volume,
        claim,
        found.f_blocks * unit,
        found.f_bavail * unit,
        (found.f_blocks - found.f_bfree) * unit,
        found.f_files,
        found.f_ffree,
    )


def _size_of_device(device: Path) -> int:
    with device.open("rb") as file:
        size: int = struct.unpack("Q", fcntl.ioctl(file, _BLKGETSIZE64, bytes(8)))[0]
    return size
