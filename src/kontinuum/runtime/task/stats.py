"""Stats: what a container uses in its machine. The pod's own costs are those of its cgroup on the host."""

from __future__ import annotations

import asyncio

from kontinuum.foundation.tasks import cancel
from kontinuum.runtime import codec
from kontinuum.runtime.container import Container
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

    Of a machine that is still starting: nothing, at once; of one that stands still what was known before. containerd
    asks about all containers of its host one after the other, and everybody's numbers would wait for this machine.
    """
    container = shim.container(request.id)
    if container.role is not Role.SANDBOX and not shim.sandbox.is_starting and not shim.sandbox.stands_still:
        await _ask(shim, container)
    used = as_metrics(container.used) if container.used is not None else Metrics()
    return StatsResponse(Any(METRICS, codec.encode(used)))


async def _ask(shim: Shim, container: Container) -> None:
    """What the container uses, unless its machine comes to stand still meanwhile. Raises SandboxOver, GuestLost."""
    guest = await shim.sandbox.guest()
    asking = asyncio.ensure_future(guest.stats(container.id))
    standing = asyncio.ensure_future(shim.sandbox.wait_stands_still())
    try:
        await asyncio.wait({asking, standing}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            container.used = asking.result()
    finally:
        await cancel(*(task for task in (asking, standing) if not task.done()))


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
