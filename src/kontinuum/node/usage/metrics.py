"""A node's readings under the names that the kubelet and its cAdvisor use, so that dashboards find them. Pure.

``/metrics/resource`` is stable in Kubernetes; ``/metrics/cadvisor`` holds those of cAdvisor's series that dashboards
are made of, for containers and for whole pods (those without ``container``).
"""

from __future__ import annotations

from collections.abc import Iterator

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, pods, qos
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage.exposition import Family, text
from kontinuum.node.usage.readings import ContainerReading, NodeReading, PodReading

SECOND = 1e9
DEFAULT_CLASS = "container"


def resource(reading: NodeReading) -> str:
    """``/metrics/resource``."""
    machine, at = reading.machine, reading.time
    node_cpu = Family("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node")
    node_memory = Family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes")
    node_swap = Family("node_swap_usage_bytes", "gauge", "[ALPHA] Current swap usage of the node in bytes")
    cpu = Family("container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time of the container")
    memory = Family("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container")
    start = Family("container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch")
    pod_cpu = Family("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod")
    pod_memory = Family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes")
    error = Family("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics")
    node_cpu.add(machine.cpu_nanoseconds / SECOND, at=at)
    node_memory.add(machine.memory_total - machine.memory_available, at=at)
    node_swap.add(machine.swap_total - machine.swap_free, at=at)
    for pod in reading.pods:
        labels = _pod_labels(pod.pod)
        pod_memory.add(pod.usage.memory, labels, at=at)
        if pod.cpu_nanoseconds is not None:
            pod_cpu.add(pod.cpu_nanoseconds / SECOND, labels, at=at)
        for one in pod.containers:
            own = {"container": one.usage.container, **labels}
            cpu.add(one.usage.cpu_nanoseconds / SECOND, own, at=one.usage.time)
            memory.add(one.usage.memory_bytes, own, at=one.usage.time)
            start.add(one.started, own)
    error.add(0)
    return text((cpu, memory, start, node_cpu, node_memory, node_swap, pod_cpu, pod_memory, error))


def cadvisor(reading: NodeReading, settings: NodeSettings) -> str:
    """``/metrics/cadvisor``, and what each pod's class costs besides its containers."""
    return text((*_machine(reading), *_containers(reading, settings), *_pods(reading, settings), *_overhead(reading)))


def _machine(reading: NodeReading) -> Iterator[Family]:
    cores = Family("machine_cpu_cores", "gauge", "Number of logical CPU cores.")
    memory = Family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.")
    cores.add(reading.machine.cpus)
    memory.add(reading.machine.memory_total)
    yield from (cores, memory)


def _containers(reading: NodeReading, settings: NodeSettings) -> Iterator[Family]:
    cpu = Family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.")
    memory = {
        "container_memory_usage_bytes": ("memory_usage_bytes", "Current memory usage, all of it."),
        "container_memory_working_set_bytes": ("memory_bytes", "Current working set in bytes."),
        "container_memory_rss": ("rss_bytes", "Size of RSS in bytes."),
    }
    sizes = {name: Family(name, "gauge", told) for name, (_, told) in memory.items()}
    faults = Family("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.")
    fs = Family("container_fs_usage_bytes", "gauge", "Number of bytes that the container wrote over its image.")
    inodes = Family("container_fs_inodes_total", "gauge", "Number of inodes that the container made over its image.")
    seen = Family("container_last_seen", "gauge", "Last time a container was seen by the exporter")
    started = Family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch.")
    limits = _Limits()
    for pod in reading.pods:
        whole = _whole(pod, settings)
        if pod.cpu_nanoseconds is not None:
            cpu.add(pod.cpu_nanoseconds / SECOND, {**whole, "cpu": "total"})
        sizes["container_memory_working_set_bytes"].add(pod.usage.memory, whole)
        limits.add(whole, cgroups.pod_limits(pod.pod, 0))
        for one in pod.containers:
            labels = _labels(pod, one, settings)
            cpu.add(one.usage.cpu_nanoseconds / SECOND, {**labels, "cpu": "total"})
            for name, (field, _) in memory.items():
                value = getattr(one.usage, field)
                if value is not None:
                    sizes[name].add(value, labels)
            for kind, count in (("pgfault", one.usage.page_faults), ("pgmajfault", one.usage.major_page_faults)):
                if count is not None:
                    faults.add(count, {**labels, "failure_type": kind, "scope": "container"})
            fs.add(one.takes.layer.bytes, labels)
            inodes.add(one.takes.layer.inodes, labels)
            seen.add(reading.time, labels)
            started.add(one.started, labels)
            limits.add(labels, _container_limits(pod.pod, one.usage.container))
    yield from (cpu, *sizes.values(), faults, fs, inodes, seen, started, *limits.families)


class _Limits:
    """What the cgroup is held to."""

    def __init__(self) -> None:
        self.families = (
            Family("container_spec_cpu_shares", "gauge", "CPU share of the container."),
            Family("container_spec_cpu_period", "gauge", "CPU period of the container."),
            Family("container_spec_cpu_quota", "gauge", "CPU quota of the container."),
            Family("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container."),
        )

    def add(self, labels: dict[str, str], limits: cgroups.PodLimits) -> None:
        shares, period, quota, memory = self.families
        shares.add(cgroups.shares(limits.cpu_request), labels)
        period.add(cgroups.CPU_PERIOD, labels)
        if limits.cpu_limit:
            quota.add(cgroups.quota(limits.cpu_limit), labels)
        memory.add(limits.memory_limit, labels)


def _container_limits(pod: Object, name: str) -> cgroups.PodLimits:
    container = pods.find_container(pod, name) or {}
    limits, requests = pods.resources(container, "limits"), pods.resources(container, "requests")
    request = quantity.milli(requests.get("cpu", limits.get("cpu", "0")))
    return cgroups.PodLimits(
        request, quantity.milli(limits.get("cpu", "0")), quantity.value(limits.get("memory", "0"))
    )  # fmt: skip


def _pods(reading: NodeReading, settings: NodeSettings) -> Iterator[Family]:
    directions = {
        "container_network_receive_bytes_total": ("received", "Cumulative count of bytes received"),
        "container_network_receive_errors_total": ("receive_errors", "Cumulative count of errors while receiving"),
        "container_network_transmit_bytes_total": ("sent", "Cumulative count of bytes transmitted"),
        "container_network_transmit_errors_total": ("send_errors", "Cumulative count of errors while transmitting"),
    }
    families = {name: Family(name, "counter", told) for name, (_, told) in directions.items()}
    processes = Family("container_processes", "gauge", "Number of processes and threads running inside the pod.")
    for pod in reading.pods:
        whole = _whole(pod, settings)
        processes.add(pod.usage.processes, whole)
        if pod.interface is not None:
            for name, (field, _) in directions.items():
                families[name].add(getattr(pod.interface, field), {**whole, "interface": pod.interface.name})
    yield from (*families.values(), processes)


def _overhead(reading: NodeReading) -> Iterator[Family]:
    memory = Family("kontinuum_pod_overhead_memory_bytes", "gauge", "Working set of a pod beyond its containers'.")
    cpu = Family("kontinuum_pod_overhead_cpu_seconds_total", "counter", "Cpu time of a pod beyond its containers'.")
    for pod in reading.pods:
        if pod.containers and pod.is_divided:
            labels = {**_pod_labels(pod.pod), "class": pods.isolation_class(pod.pod) or DEFAULT_CLASS}
            memory.add(pod.overhead_memory, labels)
            cpu.add(pod.overhead_cpu_nanoseconds / SECOND, labels)
    yield from (memory, cpu)


def _pod_labels(pod: Object) -> dict[str, str]:
    return {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}


def _whole(pod: PodReading, settings: NodeSettings) -> dict[str, str]:
    return {"container": "", "id": qos.cgroup_of(settings, pod.pod), "image": "", "name": "", **_pod_labels(pod.pod)}


def _labels(pod: PodReading, one: ContainerReading, settings: NodeSettings) -> dict[str, str]:
    return {
        "container": one.usage.container,
        "id": f"{qos.cgroup_of(settings, pod.pod)}/{one.usage.id}",
        "image": one.image,
        "name": one.usage.id,
        **_pod_labels(pod.pod),
    }
