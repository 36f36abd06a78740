"""What a kubelet's server tells besides pods' streams: usage, metrics, configuration, health, logs of the node.

/stats/summary   /metrics   /metrics/cadvisor   /metrics/resource   /metrics/probes
/pods   /runningpods/   /configz   /healthz/...   /logs/...
"""

from __future__ import annotations

import html
import os
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from kontinuum.api.machinery.objects import Object, uid_of
from kontinuum.foundation import tallies
from kontinuum.node import node_logs, pods
from kontinuum.node.observed import ContainerState, Observed
from kontinuum.node.probe_counts import ProbeCounts
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage import claims, metrics
from kontinuum.node.usage.exposition import CONTENT_TYPE, Family, text
from kontinuum.node.usage.gathering import Gatherer
from kontinuum.node.usage.summary import resource_summary, summary

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEALTH = ("/healthz/ping", "/healthz/log", "/healthz/syncloop")


class KnownPod(Protocol):
    pod: Object
    observed: Observed

    @property
    def places(self) -> Mapping[str, Path]: ...


class Pages:
    """``routes`` are the paths and who answers them."""

    def __init__(
        self,
        node: str,
        settings: NodeSettings,
        gatherer: Gatherer,
        probe_counts: ProbeCounts,
        *,
        known: Callable[[], Iterable[KnownPod]],
        evictions: Callable[[], Mapping[str, int]],
    ) -> None:
        """``evictions``: how many pods went because of each signal."""
        self._node = node
        self._settings = settings
        self._gatherer = gatherer
        self._probe_counts = probe_counts
        self._known = known
        self._evictions = evictions

    @property
    def routes(self) -> dict[str, Handler]:
        return {
            "/pods": self._pods,
            "/pods/": self._pods,
            "/runningpods": self._running_pods,
            "/runningpods/": self._running_pods,
            "/stats/summary": self._summary,
            "/metrics": self._metrics,
            "/metrics/cadvisor": self._cadvisor,
            "/metrics/resource": self._resource,
            "/metrics/probes": self._probes,
            "/configz": self._configuration,
            "/logs": self._logs,
            "/logs/{path:.*}": self._logs,
            **dict.fromkeys(HEALTH, self._health),
        }

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _pods(self, _: web.Request) -> web.StreamResponse:
        return _pod_list([one.pod for one in self._known()])

    async def _running_pods(self, _: web.Request) -> web.StreamResponse:
        return _pod_list([found for one in self._known() if (found := running_pod(one.pod, one.observed))])

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        few = request.query.get("only_cpu_and_memory") == "true"
        reading = await self._gatherer.look()
        return web.json_response(resource_summary(reading) if few else summary(reading))

    async def _cadvisor(self, _: web.Request) -> web.StreamResponse:
        return _metrics(metrics.cadvisor(await self._gatherer.look(), self._settings))

    async def _resource(self, _: web.Request) -> web.StreamResponse:
        return _metrics(metrics.resource(await self._gatherer.look()))

    async def _probes(self, _: web.Request) -> web.StreamResponse:
        return _metrics(self._probe_counts.render({uid_of(one.pod) for one in self._known()}))

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        known = list(self._known())
        of_claims = claims.metrics((one.pod, one.places) for one in known if not pods.is_terminal(one.pod))
        starts = machine_starts(tallies.read(self._settings.machine_starts))
        return _metrics(text((*own_metrics(self._node, known, self._evictions()), *of_claims, starts)))

    async def _configuration(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"kubeletconfig": configuration(self._settings)})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("query"):
            found = await node_logs.query(self._settings.data / "logs", node_logs.Query.of(request.query))
            return web.Response(body=found, content_type="text/plain")
        place = node_logs.place_of(request.match_info.get("path", ""))
        if place.is_dir():
            return web.Response(text=listing(place), content_type="text/html")
        return web.FileResponse(place, headers={"Content-Type": "text/plain; charset=utf-8"})


def _pod_list(items: list[Object]) -> web.Response:
    return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})


def _metrics(body: str) -> web.Response:
    return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE})


def listing(place: Path) -> str:
    """A directory as Go's file server shows it."""
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in place.iterdir())
    links = [f'<a href="{html.escape(name, quote=True)}">{html.escape(name)}</a>' for name in names]
    return "\n".join(["<pre>", *links, "</pre>"]) + "\n"


def running_pod(pod: Object, observed: Observed) -> Object | None:
    """As much of a pod as the runtime knows of it; None if nothing of it runs."""
    running = [one for one in observed.containers if one.is_running]
    if not running:
        return None
    meta = {key: pod["metadata"].get(key) for key in ("name", "namespace", "uid")}
    containers = [{"name": one.name, "image": one.image, "resources": {}} for one in running]
    return {"metadata": meta, "spec": {"containers": containers}, "status": {}}


def own_metrics(node: str, known: list[KnownPod], evictions: Mapping[str, int]) -> Iterable[Family]:
    """``/metrics``: the agent itself, in the kubelet's names."""
    name = Family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.")
    name.add(1, {"node": node})
    running = Family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox")
    running.add(sum(one.observed.sandbox is not None and one.observed.sandbox.is_ready for one in known))
    containers = Family("kubelet_running_containers", "gauge", "[BETA] Number of containers by their state")
    states = [container.state for one in known for container in one.observed.containers]
    for state in ContainerState:
        containers.add(states.count(state), {"container_state": state.name.lower()})
    desired = Family("kubelet_desired_pods", "gauge", "[ALPHA] Number of pods that the kubelet is to run.")
    static = sum(pods.is_static(one.pod) for one in known)
    desired.add(static, {"static": "true"})
    desired.add(len(known) - static, {"static": ""})
    evicted = Family("kubelet_evictions", "counter", "[BETA] Cumulative number of pod evictions by eviction signal")
    for signal, count in evictions.items():
        evicted.add(count, {"eviction_signal": signal})
    cpu = Family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.")
    cpu.add(time.process_time())
    memory = Family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.")
    memory.add(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    files = Family("process_open_fds", "gauge", "Number of open file descriptors.")
    files.add(len(list(Path("/proc/self/fd").iterdir())))
    most = Family("process_max_fds", "gauge", "Maximum number of open file descriptors.")
    most.add(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return name, running, containers, desired, evicted, cpu, memory, files, most


def machine_starts(counts: Mapping[str, int]) -> Family:
    """How microVMs of this node came up, as the runtime counts them."""
    starts = Family(
        "kontinuum_machine_starts_total", "counter", "Machines of pods that became ready, by how they came up."
    )
    for path, count in sorted(counts.items()):
        starts.add(count, {"path": path})
    return starts


def configuration(settings: NodeSettings) -> Object:
    """The node's settings as a KubeletConfiguration, as far as they are the kubelet's."""
    told: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "staticPodPath": settings.static_pod_path,
        "fileCheckFrequency": f"{settings.file_check_frequency:g}s",
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": list(settings.cluster_dns),
        "nodeStatusUpdateFrequency": f"{settings.heartbeat_seconds:g}s",
        "nodeStatusReportFrequency": f"{settings.status_seconds:g}s",
        "nodeLeaseDurationSeconds": settings.lease_duration_seconds,
        "imageMinimumGCAge": f"{settings.image_minimum_gc_age:g}s",
        "imageMaximumGCAge": f"{settings.image_maximum_gc_age:g}s",
        "imageGCHighThresholdPercent": settings.image_gc_high_threshold_percent,
        "imageGCLowThresholdPercent": settings.image_gc_low_threshold_percent,
        "cgroupRoot": settings.cgroup,
        "cgroupsPerQOS": True,
        "cgroupDriver": "cgroupfs",
        "podPidsLimit": settings.pod_pids_limit or -1,
        "maxPods": settings.max_pods,
        "podCIDR": ",".join(settings.pod_networks),
        "evictionHard": dict(settings.eviction_hard),
        "evictionSoft": dict(settings.eviction_soft),
        "evictionSoftGracePeriod": {key: f"{one:g}s" for key, one in settings.eviction_soft_grace_period.items()},
        "evictionPressureTransitionPeriod": f"{settings.eviction_pressure_transition_period:g}s",
        "evictionMaxPodGracePeriod": settings.eviction_max_pod_grace_period,
        "evictionMinimumReclaim": dict(settings.eviction_minimum_reclaim),
        "allowedUnsafeSysctls": list(settings.allowed_unsafe_sysctls),
        "containerLogMaxSize": str(settings.log_max_size),
        "containerLogMaxFiles": settings.log_max_files,
        "systemReserved": dict(settings.system_reserved),
        "kubeReserved": dict(settings.kube_reserved),
        "enforceNodeAllocatable": ["pods"] if settings.enforce_node_allocatable else [],
        "enableServer": bool(settings.certificate),
        "enableSystemLogHandler": True,
        "enableSystemLogQuery": True,
        "containerRuntimeEndpoint": f"unix://{settings.socket}",
        "failSwapOn": False,
    }
    return told
