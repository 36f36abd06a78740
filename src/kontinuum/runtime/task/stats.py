"""Stats: what a container uses in its machine. The pod's own costs are those of its cgroup on the host."""

from __future__ import annotations

from kontinuum.runtime import codec
from kontinuum.runtime.guest.port import ContainerStats
from kontinuum.runtime.messages import (
    Any,
    CPUStat,
    CPUUsage,
    MemoryEntry,
    MemoryStat,
    Metrics,
    PidsStat,
    StatsRequest,
    StatsResponse,
)
from kontinuum.runtime.oci import Role
from kontinuum.runtime.shim import Shim

METRICS = "io.containerd.cgroups.v1.Metrics"


async def stats(shim: Shim, request: StatsRequest) -> StatsResponse:
    """Raises NoSuchProcess, SandboxOver, GuestLost.

    Of a machine that is still starting: nothing, at once. containerd asks about all containers of its host one after
    the other, and everybody's numbers would wait for this machine.
    """
    container = shim.container(request.id)
    if container.role is Role.SANDBOX or shim.sandbox.is_starting:
        return StatsResponse(Any(METRICS, codec.encode(Metrics())))
    guest = await shim.sandbox.guest()
    return StatsResponse(Any(METRICS, codec.encode(as_metrics(await guest.stats(container.id)))))


def as_metrics(used: ContainerStats) -> Metrics:
    """In containerd's form. Kubernetes' working set is usage minus inactive file pages."""
    return Metrics(
        pids=PidsStat(current=used.processes),
        cpu=CPUStat(CPUUsage(total=used.cpu_nanoseconds)),
        memory=MemoryStat(
            total_rss=max(0, used.memory_bytes - used.memory_inactive_file_bytes),
            total_inactive_file=used.memory_inactive_file_bytes,
            usage=MemoryEntry(limit=used.memory_limit_bytes, usage=used.memory_bytes),
        ),
    )
