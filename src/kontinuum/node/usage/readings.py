"""One look at everything that a node and its pods use; what the Summary API and the metrics are told from. Values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.node.port import ContainerUsage
from kontinuum.node.usage.claims import ClaimReading
from kontinuum.node.usage.network import Interface
from kontinuum.node.usage.values import ContainerTakes, PodUsage


@dataclass(frozen=True, slots=True)
class Space:
    """A file system: bytes and inodes, in all and free."""

    capacity: int
    available: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class MachineReading:
    """CPU time since the machine started in nanoseconds; memory in bytes; numbers of processes."""

    cpu_nanoseconds: int
    cpus: int
    memory_total: int
    memory_available: int
    swap_total: int
    swap_free: int
    most_processes: int
    processes: int
    nodefs: Space
    imagefs: Space
    image_bytes: int
    interfaces: Mapping[str, Interface]
    default_interface: str
    started: float
    """Since the epoch."""


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """A running container; ``started`` is since the epoch, ``cpu_rate`` in nanocores, None if not known yet."""

    usage: ContainerUsage
    takes: ContainerTakes
    started: float
    image: str
    cpu_rate: int | None


@dataclass(frozen=True, slots=True)
class PodReading:
    """``cpu_nanoseconds`` and ``usage`` are those of the pod's cgroup, with all that its class needs besides."""

    pod: Object
    usage: PodUsage
    cpu_nanoseconds: int | None
    cpu_rate: int | None
    interface: Interface | None
    containers: Sequence[ContainerReading]
    claims: Sequence[ClaimReading] = ()
    is_divided: bool = True
    """Whether the runtime tells what containers use from what their class does; otherwise they share all of it."""

    @property
    def overhead_memory(self) -> int:
        """Bytes that the pod takes beyond its containers: sandbox, shim, machine."""
        return max(0, self.usage.memory - sum(one.usage.memory_bytes for one in self.containers))

    @property
    def overhead_cpu_nanoseconds(self) -> int:
        counted = self.cpu_nanoseconds or 0
        return max(0, counted - sum(one.usage.cpu_nanoseconds for one in self.containers))


@dataclass(frozen=True, slots=True)
class NodeReading:
    """``time`` is when it was read, in seconds since the epoch; ``parts`` what system processes use, by their names:
    CPU time in nanoseconds and memory in bytes."""

    node: str
    time: float
    machine: MachineReading
    machine_cpu_rate: int | None
    parts: Mapping[str, tuple[int, int]]
    pods: Sequence[PodReading]
