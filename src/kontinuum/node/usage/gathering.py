"""Looks at everything at once: the machine, the runtime's numbers, pods' cgroups, disks and wires."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.foundation.clock import Clock
from kontinuum.node import pods, qos
from kontinuum.node.containerd import undivided
from kontinuum.node.eviction.signals import pids
from kontinuum.node.observed import Observed
from kontinuum.node.port import ContainerRuntime, ContainerUsage, RuntimeAway, RuntimeFailed
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage import cgroup, claims, network
from kontinuum.node.usage.measuring import Meter
from kontinuum.node.usage.readings import ContainerReading, MachineReading, NodeReading, PodReading, Space
from kontinuum.node.usage.values import NOTHING, ContainerTakes, PodUsage

PROC = Path("/proc")
BUSY = (0, 1, 2, 5, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq, steal. Idle and iowait are no work."""
NANOSECONDS = 1_000_000_000
WINDOW_SECONDS = 5.0
"""The shortest time over which a rate is told."""


class KnownPod(Protocol):
    pod: Object
    observed: Observed

    @property
    def places(self) -> Mapping[str, Path]: ...


class Rates:
    """Nanocores from CPU times that only grow; who is not asked about any more is forgotten."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int, int | None]] = {}
        self._now: dict[str, tuple[float, int, int | None]] = {}

    def rate(self, key: str, at: float, nanoseconds: int) -> int | None:
        before = self._before.get(key)
        if before is None or nanoseconds < before[1]:
            self._now[key] = (at, nanoseconds, None)
        elif at - before[0] < WINDOW_SECONDS:
            self._now[key] = before
        else:
            self._now[key] = (at, nanoseconds, round((nanoseconds - before[1]) / (at - before[0])))
        return self._now[key][2]

    def end_look(self) -> None:
        self._before, self._now = self._now, {}


class Gatherer:
    def __init__(
        self,
        node: str,
        settings: NodeSettings,
        runtime: ContainerRuntime,
        clock: Clock,
        meter: Meter,
        known: Callable[[], Iterable[KnownPod]],
    ) -> None:
        self._node = node
        self._settings = settings
        self._runtime = runtime
        self._clock = clock
        self._meter = meter
        self._known = known
        self._undivided = undivided(settings)
        self._rates = Rates()

    async def look(self) -> NodeReading:
        """Raises OSError if the machine itself cannot be read."""
        known = [one for one in self._known() if not pods.is_terminal(one.pod) and one.observed.sandbox is not None]
        usage = await self._meter.measure([one.pod for one in known])
        machine = self._machine(await self._image_bytes())
        wired = network.wires()
        running: dict[str, list[ContainerUsage]] = {}
        for one in self._meter.containers:
            running.setdefault(one.pod_uid, []).append(one)
        now, at = self._clock.time(), self._clock.monotonic()
        read = [
            self._pod(one, usage.get(uid_of(one.pod), NOTHING), running.get(uid_of(one.pod), []), wired, machine, at)
            for one in known
        ]
        rate = self._rates.rate("node", at, machine.cpu_nanoseconds)
        self._rates.end_look()
        return NodeReading(self._node, now, machine, rate, self._parts(), read)

    async def _image_bytes(self) -> int:
        try:
            return sum(one.size for one in await self._runtime.present_images())
        except (RuntimeAway, RuntimeFailed):
            return 0

    def _pod(
        self,
        known: KnownPod,
        usage: PodUsage,
        running: list[ContainerUsage],
        wired: dict[str, str],
        machine: MachineReading,
        at: float,
    ) -> PodReading:
        pod, sandbox = known.pod, known.observed.sandbox
        containers = []
        for one in running:
            current = known.observed.current(one.container)
            # What belongs to an attempt before this one, or is just starting, is nobody's now.
            if current is not None and current.id == one.id and current.started_at:
                takes = usage.containers.get(one.container, ContainerTakes())
                rate = self._rates.rate(one.id, at, one.cpu_nanoseconds)
                containers.append(ContainerReading(one, takes, current.started_at, current.image, rate))
        cpu = cgroup.cpu_nanoseconds(qos.cgroup_of(self._settings, pod))
        rate = None if cpu is None else self._rates.rate(uid_of(pod), at, cpu)
        ips = sandbox.ips if sandbox is not None and not pods.is_host_network(pod) else ()
        return PodReading(
            pod,
            usage,
            cpu,
            rate,
            network.of_pod(ips, wired, machine.interfaces),
            containers,
            [*claims.read(pod, known.places)],
            is_divided=sandbox is None or sandbox.handler not in self._undivided,
        )

    def _parts(self) -> dict[str, tuple[int, int]]:
        everything = qos.of_all(self._settings)
        own = (round(time.process_time() * NANOSECONDS), _resident("self"))
        cpu, memory = cgroup.cpu_nanoseconds(everything), cgroup.working_set(everything)
        return {"kubelet": own} | ({} if cpu is None else {"pods": (cpu, memory or 0)})

    def _machine(self, image_bytes: int, proc: Path = PROC) -> MachineReading:
        lines = (proc / "stat").read_text().splitlines()
        _, *ticks = lines[0].split()
        busy = sum(int(ticks[index]) for index in BUSY if index < len(ticks))
        memory = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        names = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
        total, available, swap_total, swap_free = (int(memory[name].split()[0]) << 10 for name in names)
        numbers = pids(proc)
        return MachineReading(
            cpu_nanoseconds=busy * NANOSECONDS // os.sysconf("SC_CLK_TCK"),
            cpus=os.cpu_count() or 1,
            memory_total=total,
            memory_available=available,
            swap_total=swap_total,
            swap_free=swap_free,
            most_processes=numbers.capacity,
            processes=numbers.capacity - numbers.available,
            nodefs=_space(self._settings.data),
            imagefs=_space(self._settings.imagefs),
            image_bytes=image_bytes,
            interfaces=network.counters(proc),
            default_interface=network.default_interface(proc),
            started=next(float(line.split()[1]) for line in lines if line.startswith("btime ")),
        )


def _space(place: Path) -> Space:
    found = os.statvfs(place)
    return Space(
        found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail
    )  # fmt: skip


def _resident(process: str, proc: Path = PROC) -> int:
    """Bytes of memory of a process that are not shared files."""
    pages = (proc / process / "statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
