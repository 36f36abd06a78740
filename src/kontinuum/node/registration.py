"""The Node object as this machine presents itself: pure, from facts that ``machine_facts`` read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from kontinuum.api.kontinuum.host_path import NODE_LABEL, ROOT
from kontinuum.api.kubernetes.validation.quantities import is_extended
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.node.allocatable import Amounts, held_back
from kontinuum.node.port import Features, PresentImage
from kontinuum.node.settings import NodeSettings

KUBELET_VERSION = f"v1.36.2-kontinuum.{metadata.version('kontinuum')}"
READY = "kubelet is posting ready status"
PUBLISHED_IMAGES, PUBLISHED_NAMES = 50, 5
"""Images, and names of each, as many as the kubelet publishes."""
PRESSURES = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}
"""Reason and message of each condition, without and with pressure."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What does not change while the agent runs. Sizes are bytes."""

    name: str
    address: str
    hostname: str
    cpus: int
    memory: int
    disk: int
    processes: int
    """Processes and threads that the kernel has numbers for."""
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str
    runtime: str = ""
    """``containerd://1.6.20``."""
    features: Features = field(default_factory=Features)


def node_object(facts: MachineFacts, settings: NodeSettings) -> Object:
    """What is created when the API does not know this node yet."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": facts.name,
            "labels": node_labels(facts, settings),
            "annotations": {ROOT: str(settings.volumes)},
        },
        "spec": {"podCIDR": settings.pod_networks[0], "podCIDRs": list(settings.pod_networks)},
    }


def node_labels(facts: MachineFacts, settings: NodeSettings) -> dict[str, str]:
    labels = {
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        NODE_LABEL: "true",
        **{f"kontinuum.dev/class.{name}": "true" for name in settings.offered_classes},
    }
    if settings.accelerator:
        labels["kontinuum.dev/accelerator"] = settings.accelerator
    if settings.vmm:
        labels["kontinuum.dev/vmm"] = settings.vmm
    return labels | settings.labels


def capacity(facts: MachineFacts) -> Amounts:
    return Amounts(facts.cpus * 1000, facts.memory, facts.disk, facts.processes)


def allocatable(facts: MachineFacts, settings: NodeSettings) -> Amounts:
    """What pods may have."""
    whole = capacity(facts)
    return whole.less(settings.reserved).less(held_back(settings.eviction_thresholds, whole))


def bandwidth(settings: NodeSettings) -> dict[str, str]:
    """Input, output and network as extended resources, so that pods can ask for their share as they do for cpu."""
    offered = {
        "disk-read-bps": settings.disk_read_bps,
        "disk-write-bps": settings.disk_write_bps,
        "disk-read-iops": settings.disk_read_iops,
        "disk-write-iops": settings.disk_write_iops,
        "network-ingress-bps": settings.network_ingress_bps,
        "network-egress-bps": settings.network_egress_bps,
    }
    return {f"kontinuum.dev/{name}": str(amount) for name, amount in offered.items() if amount}


def images_status(images: Iterable[PresentImage]) -> list[Object]:
    """``status.images``: the largest, because it is those that are worth sending pods after."""
    largest = sorted(images, key=lambda one: (-one.size, one.names))[:PUBLISHED_IMAGES]
    return [{"names": list(one.names[:PUBLISHED_NAMES]), "sizeBytes": one.size} for one in largest if one.names]


def node_status(
    facts: MachineFacts,
    settings: NodeSettings,
    before: Object,
    *,
    port: int,
    problem: str,
    now: str,
    images: Sequence[PresentImage] | None = None,
    pressures: Collection[str] = (),
) -> Object:
    """The whole status. ``before`` is the last one; ``problem`` says why the node is not ready, or is "".

    ``images`` is None if they are not known now: then the last ones stay. ``pressures``: see ``PRESSURES``.
    """
    common = {"pods": str(settings.max_pods), **bandwidth(settings), **_advertised(before)}
    conditions: list[Object] = list(before.get("conditions") or ())
    ready = ("Ready", "False", "KubeletNotReady", problem) if problem else ("Ready", "True", "KubeletReady", READY)
    pressed = [(kind, str(kind in pressures), *words[kind in pressures]) for kind, words in PRESSURES.items()]
    for kind, status, reason, message in (*pressed, ready):
        conditions = set_condition(
            conditions, kind, status, now=now, reason=reason, message=message, lastHeartbeatTime=now
        )
    return {
        "capacity": {**_amounts(capacity(facts)), **common},
        "allocatable": {**_amounts(allocatable(facts, settings)), **common},
        "addresses": [
            {"type": "InternalIP", "address": facts.address},
            {"type": "Hostname", "address": facts.hostname},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "architecture": facts.architecture,
            "bootID": facts.boot_id,
            "containerRuntimeVersion": facts.runtime,
            "kernelVersion": facts.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": facts.machine_id,
            "operatingSystem": "linux",
            "osImage": facts.os_image,
            "systemUUID": facts.system_uuid,
        },
        "images": before.get("images") or [] if images is None else images_status(images),
        "runtimeHandlers": [
            {"name": name, "features": _handler_features(facts.features, name)}
            for name in ("", *settings.offered_classes)
        ],
        "features": {"supplementalGroupsPolicy": facts.features.supplemental_groups_policy},
        "conditions": conditions,
    }


def _handler_features(features: Features, handler: str) -> Object:
    return {
        "recursiveReadOnlyMounts": handler in features.recursive_read_only_mounts,
        "userNamespaces": handler in features.user_namespaces,
    }


def _advertised(before: Object) -> dict[str, str | None]:
    """Extended resources that somebody else has put into the capacity: pods may have all of them, as with a kubelet.

    None for one that has been taken out of the capacity again; our own are not among them.
    """
    whole = {name: amount for name, amount in (before.get("capacity") or {}).items() if _is_foreign(name)}
    gone = {name: None for name in before.get("allocatable") or {} if _is_foreign(name) and name not in whole}
    return {**gone, **whole}


def _is_foreign(resource: str) -> bool:
    return is_extended(resource) and not resource.startswith("kontinuum.dev/")


def _amounts(of: Amounts) -> dict[str, str]:
    return {
        "cpu": quantity.format_milli(of.cpu),
        "memory": f"{of.memory >> 10}Ki",
        "ephemeral-storage": f"{of.storage >> 10}Ki",
    }


def moves(before: Object, after: Object) -> list[str]:
    """What a kubelet tells of the node when the status becomes ``after``: ``NodeHasDiskPressure``, ``NodeReady``."""
    was = {one["type"]: one["status"] for one in before.get("conditions") or ()}
    told = []
    for one in after.get("conditions") or ():
        kind, status = one["type"], one["status"]
        if kind in PRESSURES and was.get(kind) != status:
            told.append(PRESSURES[kind][status == "True"][0].replace("Kubelet", "Node", 1))
        elif kind == "Ready" and was.get(kind, "False") != status:
            told.append("NodeReady" if status == "True" else "NodeNotReady")
    return told


def has_changed(before: Object, after: Object) -> bool:
    """Whether the two statuses differ in more than heartbeat times."""
    return _without_times(before) != _without_times(after)


def _without_times(status: Mapping[str, object]) -> Object:
    conditions = status.get("conditions")
    kept = [
        {key: value for key, value in one.items() if key not in ("lastHeartbeatTime", "lastTransitionTime")}
        for one in (conditions if isinstance(conditions, list) else [])
    ]
    return {**status, "conditions": kept}
