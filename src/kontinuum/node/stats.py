"""``/stats/summary``: what the machine and each running container have used, in the kubelet's words.

{"node": {"nodeName": "n1", "cpu": {"time": "...", "usageCoreNanoSeconds": 1}, "memory": {"workingSetBytes": 1, ...}},
 "pods": [{"podRef": {"name": "web", "namespace": "default", "uid": "..."},
           "containers": [{"name": "main", "startTime": "...", "cpu": {...}, "memory": {...}}]}]}

The source of the form is Kubernetes' ``kubelet/apis/stats/v1alpha1``. CPU time only grows while a container lives;
whoever reads it twice knows the rate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339, rfc3339_micro
from kontinuum.node.port import ContainerUsage

PROC = Path("/proc")
BUSY = (0, 1, 2, 5, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq, steal. Idle and iowait are no work."""
NANOSECONDS = 1_000_000_000
StartOf = Callable[[ContainerUsage], float | None]
"""When a container was started, in seconds since the epoch; None if that is not known (yet)."""


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """CPU time since the machine started in nanoseconds, over all CPUs; memory in bytes."""

    cpu_nanoseconds: int
    memory_total: int
    memory_available: int


def read_machine(proc: Path = PROC) -> MachineUsage:
    """Raises OSError, ValueError."""
    _, *ticks = (proc / "stat").read_text().split("\n", 1)[0].split()
    busy = sum(int(ticks[index]) for index in BUSY if index < len(ticks))
    memory = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    total, available = (int(memory[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return MachineUsage(busy * NANOSECONDS // os.sysconf("SC_CLK_TCK"), total, available)


def summary(
    node: str, machine: MachineUsage, containers: Iterable[ContainerUsage], start_of: StartOf, *, now: float
) -> Object:
    """See the module; ``now`` is in seconds since the epoch. A container whose start is unknown is left out."""
    pods: dict[str, Object] = {}
    for one in containers:
        started = start_of(one)
        if started is None:
            continue
        reference = {"name": one.pod, "namespace": one.namespace, "uid": one.pod_uid}
        pod = pods.setdefault(one.pod_uid, {"podRef": reference, "containers": []})
        used = _used(one.time, one.cpu_nanoseconds, {"workingSetBytes": one.memory_bytes})
        pod["containers"].append({"name": one.container, "startTime": rfc3339(started), **used})
    working_set = machine.memory_total - machine.memory_available
    memory = {"availableBytes": machine.memory_available, "workingSetBytes": working_set}
    return {"node": {"nodeName": node, **_used(now, machine.cpu_nanoseconds, memory)}, "pods": list(pods.values())}


def _used(time: float, cpu_nanoseconds: int, memory: dict[str, int]) -> Object:
    moment = rfc3339_micro(time)
    return {"cpu": {"time": moment, "usageCoreNanoSeconds": cpu_nanoseconds}, "memory": {"time": moment, **memory}}
