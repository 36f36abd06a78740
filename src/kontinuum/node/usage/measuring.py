"""Measures every pod of the node: cgroups at once, disks by walks in a thread that take a hundredth of the time.

Who asks again soon (the Summary API, eviction) is told the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.foundation.clock import Clock
from kontinuum.node import cgroups, pods, qos
from kontinuum.node.port import ContainerRuntime, ContainerUsage, NotThere, RuntimeAway, RuntimeFailed
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage import cgroup
from kontinuum.node.usage.values import ContainerTakes, Disk, PodUsage, VolumeTakes
from kontinuum.node.usage.walking import taken
from kontinuum.node.volumes import scratch
from kontinuum.node.volumes.mounting import place_of

LEAST_SECONDS = 10.0
"""A pod's disk is not measured more often than this."""
SHARE = 100
"""A walk that took a second is not repeated before this many seconds have passed."""
ASKED_AGAIN = 3
LOCAL = ("emptyDir", "configMap", "downwardAPI")
MEASURED = (*LOCAL, "secret", "projected")


@dataclass(frozen=True, slots=True)
class _OnDisk:
    logs: Mapping[str, Disk]
    volumes: Mapping[str, VolumeTakes]
    good_until: float


Walk = Callable[[], dict[str, _OnDisk]]


class Meter:
    """``measure`` answers by UID. Pods that are gone are forgotten."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        clock: Clock,
        settings: NodeSettings,
        cgroup_root: Path = cgroups.ROOT,
        *,
        stopwatch: Callable[[], float] = time.perf_counter,
        aside: Callable[[Walk], Awaitable[dict[str, _OnDisk]]] = asyncio.to_thread,
    ) -> None:
        """``stopwatch`` times the walks, which ``aside`` carries out where nobody waits for them."""
        self._runtime = runtime
        self._clock = clock
        self._settings = settings
        self._cgroup_root = cgroup_root
        self._stopwatch = stopwatch
        self._aside = aside
        self._on_disk: dict[str, _OnDisk] = {}
        self.containers: list[ContainerUsage] = []
        """What the runtime said last."""

    async def measure(self, known: Iterable[Object]) -> dict[str, PodUsage]:
        known = [pod for pod in known if pods.has_files(pod)]
        with contextlib.suppress(NotThere, RuntimeAway, RuntimeFailed):
            # Without it the old numbers are the best there are: memory pressure may be why it does not answer.
            self.containers = await self._ask()
        now = self._clock.monotonic()
        # Ours alone while we wait: whoever measures meanwhile may ask about other pods, and forgets the rest.
        uids = {uid_of(pod) for pod in known}
        on_disk = {uid: one for uid, one in self._on_disk.items() if uid in uids}
        stale = [pod for pod in known if uid_of(pod) not in on_disk or on_disk[uid_of(pod)].good_until <= now]
        if stale:
            on_disk |= await self._aside(lambda: {uid_of(pod): self._walk(pod, now) for pod in stale})
        self._on_disk = on_disk
        return {uid_of(pod): self._usage(pod, on_disk[uid_of(pod)]) for pod in known}

    async def _ask(self) -> list[ContainerUsage]:
        for _ in range(ASKED_AGAIN):
            # A container that ends just now fails the whole answer of containerd 1.6, and the next one is without it.
            with contextlib.suppress(NotThere):
                return await self._runtime.usage()
        return await self._runtime.usage()

    def _usage(self, pod: Object, on_disk: _OnDisk) -> PodUsage:
        uid, parent = uid_of(pod), qos.cgroup_of(self._settings, pod)
        running = {one.container: one for one in self.containers if one.pod_uid == uid}
        containers: dict[str, ContainerTakes] = {}
        for name in {*running, *on_disk.logs}:
            one = running.get(name)
            layer = Disk(one.layer_bytes, one.layer_inodes) if one else Disk()
            containers[name] = ContainerTakes(one.memory_bytes if one else 0, layer, on_disk.logs.get(name, Disk()))
        counted = cgroup.working_set(parent, self._cgroup_root)
        memory = sum(one.memory_bytes for one in running.values()) if counted is None else counted
        return PodUsage(memory, cgroup.processes(parent, self._cgroup_root), containers, on_disk.volumes)

    def _walk(self, pod: Object, now: float) -> _OnDisk:
        """In a thread of its own: only files are touched."""
        began = self._stopwatch()
        directory = self._settings.data / "pods" / uid_of(pod)
        logs = {
            name: taken(log_directory(self._settings, pod) / name)
            for name in (one["name"] for one in (*pods.all_containers(pod), *pods.ephemeral_containers(pod)))
        }
        volumes = {}
        for volume in pod["spec"].get("volumes") or ():
            kind = next((kind for kind in MEASURED if kind in volume), "")
            if kind:
                in_memory = (volume.get("emptyDir") or {}).get("medium") == "Memory"
                is_local = kind in LOCAL and not in_memory
                place = place_of(directory, volume)
                volumes[volume["name"]] = VolumeTakes(scratch.taken(place) or taken(place), is_local=is_local)
        took = self._stopwatch() - began
        return _OnDisk(logs, volumes, now + max(LEAST_SECONDS, took * SHARE))
