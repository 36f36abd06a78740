"""What was read of one pod. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Disk:
    """Taken space: bytes that are allocated, and inodes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Disk) -> Disk:
        return Disk(self.bytes + other.bytes, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class ContainerTakes:
    """``memory`` is the working set in bytes; ``layer`` what was written over the image."""

    memory: int = 0
    layer: Disk = Disk()
    logs: Disk = Disk()


@dataclass(frozen=True, slots=True)
class VolumeTakes:
    disk: Disk
    is_local: bool
    """Whether it counts as the pod's ephemeral storage: it lies on the node's disk and goes with the pod."""


@dataclass(frozen=True, slots=True)
class PodUsage:
    """``memory`` is the working set of the pod's cgroup, whatever runs in it: a class's own overhead is part of it."""

    memory: int = 0
    processes: int = 0
    containers: Mapping[str, ContainerTakes] = field(default_factory=dict)
    volumes: Mapping[str, VolumeTakes] = field(default_factory=dict)

    @property
    def layers(self) -> Disk:
        return sum((one.layer for one in self.containers.values()), Disk())

    @property
    def logs(self) -> Disk:
        return sum((one.logs for one in self.containers.values()), Disk())

    @property
    def local_volumes(self) -> Disk:
        return sum((one.disk for one in self.volumes.values() if one.is_local), Disk())


NOTHING = PodUsage()
