"""``/stats/summary`` in the kubelet's form (Kubernetes' ``kubelet/apis/stats/v1alpha1``). Pure.

{"node": {"nodeName": "n1", "cpu": {...}, "memory": {...}, "network": {...}, "fs": {...}, "runtime": {...}, ...},
 "pods": [{"podRef": {"name": "web", "namespace": "default", "uid": "..."}, "cpu": {...}, "memory": {...},
           "network": {...}, "volume": [...], "ephemeral-storage": {...}, "process_stats": {...},
           "containers": [{"name": "main", "cpu": {...}, "memory": {...}, "rootfs": {...}, "logs": {...}}]}]}

CPU time only grows while its owner lives; whoever reads it twice knows the rate for his own window.
"""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import rfc3339, rfc3339_micro
from kontinuum.node.usage.claims import ClaimReading
from kontinuum.node.usage.network import Interface
from kontinuum.node.usage.readings import ContainerReading, MachineReading, NodeReading, PodReading, Space
from kontinuum.node.usage.values import Disk


def summary(reading: NodeReading) -> Object:
    return {"node": _node(reading), "pods": [_pod(one, reading) for one in reading.pods]}


def resource_summary(reading: NodeReading) -> Object:
    """Only cpu and memory: what ``?only_cpu_and_memory=true`` asks for."""
    whole = summary(reading)
    node = {key: whole["node"][key] for key in ("nodeName", "systemContainers", "startTime", "cpu", "memory")}
    kept = ("podRef", "startTime", "containers", "cpu", "memory")
    pods = [{key: pod[key] for key in kept if key in pod} for pod in whole["pods"]]
    for pod in pods:
        pod["containers"] = [
            {key: one[key] for key in ("name", "startTime", "cpu", "memory")} for one in pod["containers"]
        ]
    return {"node": node, "pods": pods}


def _node(reading: NodeReading) -> Object:
    machine, moment = reading.machine, rfc3339_micro(reading.time)
    working_set = machine.memory_total - machine.memory_available
    return {
        "nodeName": reading.node,
        "startTime": rfc3339(machine.started),
        "systemContainers": [
            {
                "name": name,
                "startTime": rfc3339(machine.started),
                "cpu": _cpu(moment, cpu, None),
                "memory": {"time": moment, "workingSetBytes": memory},
            }
            for name, (cpu, memory) in sorted(reading.parts.items())
        ],
        "cpu": _cpu(moment, machine.cpu_nanoseconds, reading.machine_cpu_rate),
        "memory": {
            "time": moment,
            "availableBytes": machine.memory_available,
            "usageBytes": working_set,
            "workingSetBytes": working_set,
        },
        "swap": {
            "time": moment,
            "swapAvailableBytes": machine.swap_free,
            "swapUsageBytes": machine.swap_total - machine.swap_free,
        },
        "network": _node_network(machine, moment),
        "fs": _space(machine.nodefs, moment, machine.nodefs.capacity - machine.nodefs.available),
        "runtime": {
            "imageFs": _space(machine.imagefs, moment, machine.image_bytes),
            "containerFs": _space(machine.imagefs, moment, _layers(reading)),
        },
        "rlimit": {"time": moment, "maxpid": machine.most_processes, "curproc": machine.processes},
    }


def _layers(reading: NodeReading) -> int:
    return sum(pod.usage.layers.bytes for pod in reading.pods)


def _node_network(machine: MachineReading, moment: str) -> Object:
    first = machine.interfaces.get(machine.default_interface)
    own = _interface(first) if first is not None else {"name": ""}
    return {"time": moment, **own, "interfaces": [_interface(one) for one in machine.interfaces.values()]}


def _pod(reading: PodReading, of: NodeReading) -> Object:
    moment, meta = rfc3339_micro(of.time), reading.pod["metadata"]
    usage, space = reading.usage, of.machine.nodefs
    told: Object = {
        "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "startTime": (reading.pod.get("status") or {}).get("startTime"),
        "containers": [_container(one, of) for one in reading.containers],
        "memory": {"time": moment, "workingSetBytes": usage.memory},
        "volume": [
            {"name": name, **_space(space, moment, one.disk.bytes, one.disk.inodes)}
            for name, one in usage.volumes.items()
        ]
        + [_claim(one, meta["namespace"], moment) for one in reading.claims],
        "ephemeral-storage": _disk(space, moment, usage.layers + usage.logs + usage.local_volumes),
        "process_stats": {"process_count": usage.processes},
    }
    if reading.cpu_nanoseconds is not None:
        told["cpu"] = _cpu(moment, reading.cpu_nanoseconds, reading.cpu_rate)
    if reading.interface is not None:
        own = _interface(reading.interface)
        told["network"] = {"time": moment, **own, "interfaces": [own]}
    return told


def _claim(of: ClaimReading, namespace: str, moment: str) -> Object:
    told = {
        "capacityBytes": of.capacity,
        "availableBytes": of.available,
        "usedBytes": of.used,
        "inodes": of.inodes,
        "inodesFree": of.inodes_free,
        "inodesUsed": of.inodes_used,
    }
    whose = {"name": of.volume, "pvcRef": {"name": of.claim, "namespace": namespace}}
    return {"time": moment, **whose, **{key: value for key, value in told.items() if value is not None}}


def _container(reading: ContainerReading, of: NodeReading) -> Object:
    usage, moment = reading.usage, rfc3339_micro(of.time)
    own = rfc3339_micro(usage.time)
    memory = {
        "time": own,
        "workingSetBytes": usage.memory_bytes,
        "usageBytes": usage.memory_usage_bytes,
        "rssBytes": usage.rss_bytes,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    }
    return {
        "name": usage.container,
        "startTime": rfc3339(reading.started),
        "cpu": _cpu(own, usage.cpu_nanoseconds, reading.cpu_rate),
        "memory": {key: value for key, value in memory.items() if value is not None},
        "rootfs": _disk(of.machine.imagefs, moment, reading.takes.layer),
        "logs": _disk(of.machine.nodefs, moment, reading.takes.logs),
    }


def _cpu(moment: str, nanoseconds: int, rate: int | None) -> Object:
    told = {"time": moment, "usageCoreNanoSeconds": nanoseconds}
    return told if rate is None else {**told, "usageNanoCores": rate}


def _disk(space: Space, moment: str, taken: Disk) -> Object:
    return _space(space, moment, taken.bytes, taken.inodes)


def _space(space: Space, moment: str, used: int, inodes_used: int | None = None) -> Object:
    return {
        "time": moment,
        "availableBytes": space.available,
        "capacityBytes": space.capacity,
        "usedBytes": used,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": space.inodes - space.inodes_free if inodes_used is None else inodes_used,
    }


def _interface(of: Interface) -> Object:
    return {
        "name": of.name,
        "rxBytes": of.received,
        "rxErrors": of.receive_errors,
        "txBytes": of.sent,
        "txErrors": of.send_errors,
    }
