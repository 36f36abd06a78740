"""Whether this node takes a pod that was given to it: a pod may name a node itself, past every scheduler. Pure.

What is refused has failed for good, with the kubelet's reason and message; its owner makes another. For what the node
itself needs others make way (``preemption``).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kontinuum.api.kubernetes.node_fit import fits_affinity, untolerated
from kontinuum.api.kubernetes.tolerations import tolerates
from kontinuum.api.machinery.objects import Object
from kontinuum.node import pods, preemption
from kontinuum.node.eviction import words
from kontinuum.node.eviction.ranking import is_critical
from kontinuum.node.resize import Room

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
)  # fmt: skip
"""Kernel parameters of a pod's own that can harm nobody else (Kubernetes' list)."""
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
REJECTED = "Pod was rejected: "


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the pod fails: its status's ``reason``, and what the event and, with REJECTED before it, the status say."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """Of a resource that the pod asks for: millicores of ``cpu``, pods, bytes of everything else."""

    kind: str
    requested: int
    used: int
    capacity: int

    @property
    def missing(self) -> int:
        return self.used + self.requested - self.capacity

    def refusal(self) -> Refusal:
        amounts = f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        return Refusal(f"OutOf{self.kind}", f"Node didn't have enough resource: {self.kind}, {amounts}")


def verdict(
    pod: Object,
    others: Iterable[Object],
    room: Room,
    most_pods: int,
    allowed_sysctls: Sequence[str] = (),
    pressures: Collection[str] = (),
    *,
    has_groups_policy: bool = False,
) -> Refusal | list[Object]:
    """Why the pod is not taken, or who makes way for it: nobody, unless the node itself needs it.

    ``others`` are the node's pods that it has taken and that have not ended; ``pressures`` the node's conditions.
    ``has_groups_policy``: whether the runtime can leave out the groups of an image.
    """
    others = [one for one in others if not pods.is_terminal(one)]
    short = _shortages(pod, others, room, most_pods)
    unfit = (
        _of_ports(pod, others)
        or _of_sysctls(pod, allowed_sysctls)
        or _of_system(pod)
        or _of_apparmor(pod)
        or _of_groups(pod, has_groups_policy)
    )
    if is_critical(pod):
        return unfit or _making_way(pod, others, short)
    shortage = short[0].refusal() if short else None
    return _of_pressure(pod, pressures) or shortage or unfit or []


def misplaced(pod: Object, node: Object) -> Refusal | None:
    """Why the pod does not belong on ``node``, by the Node's labels and taints; the kubelet minds NoExecute alone."""
    if not fits_affinity(pod["spec"], node):
        problem = "node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", f"Predicate NodeAffinity failed: {problem}")
    if untolerated(pod["spec"].get("tolerations") or (), node, ("NoExecute",)):
        problem = "node(s) had taints that the pod didn't tolerate"
        return Refusal("TaintToleration", f"Predicate TaintToleration failed: {problem}")
    return None


def _of_pressure(pod: Object, pressures: Collection[str]) -> Refusal | None:
    """A node that is short of memory alone also takes who has asked for his share."""
    if not pressures:
        return None
    if set(pressures) == {"MemoryPressure"}:
        taint = {"key": MEMORY_PRESSURE, "effect": "NoSchedule"}
        tolerations = pod["spec"].get("tolerations") or ()
        if pods.qos_class(pod) != "BestEffort" or any(tolerates(one, taint) for one in tolerations):
            return None
    return Refusal(words.EVICTED, words.under_pressure(sorted(pressures)))


def _shortages(pod: Object, others: Sequence[Object], room: Room, most_pods: int) -> list[Shortage]:
    capacities = {"pods": most_pods, "cpu": room.cpu, "memory": room.memory}
    if room.storage:
        capacities["ephemeral-storage"] = room.storage
    found = [
        Shortage(kind, preemption.request(pod, kind), sum(preemption.request(one, kind) for one in others), capacity)
        for kind, capacity in capacities.items()
    ]
    # Who asks for nothing fits even on a node that is full.
    return [one for one in found if one.requested and one.missing > 0]


def _making_way(pod: Object, others: Sequence[Object], short: Sequence[Shortage]) -> Refusal | list[Object]:
    try:
        return preemption.victims(pod, others, {one.kind: one.missing for one in short})
    except preemption.NobodyLeft as error:
        problem = f"preemption: error finding a set of pods to preempt: {error}"
        message = f"Unexpected error while attempting to recover from admission failure: {problem}"
        return Refusal("UnexpectedAdmissionError", message)


def _of_ports(pod: Object, others: Sequence[Object]) -> Refusal | None:
    taken = [port for one in others for port in _host_ports(one)]
    if any(_meet(mine, port) for mine in _host_ports(pod) for port in taken):
        problem = "node(s) didn't have free ports for the requested pod ports"
        return Refusal("NodePorts", f"Predicate NodePorts failed: {problem}")
    return None


def _host_ports(pod: Object) -> list[tuple[str, str, int]]:
    """Protocol, address ("" is every one) and number."""
    return [
        (port.get("protocol") or "TCP", _address(port.get("hostIP") or ""), port["hostPort"])
        for container in pods.all_containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def _address(address: str) -> str:
    return "" if address in ("0.0.0.0", "::") else address


def _meet(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return (one[0], one[2]) == (other[0], other[2]) and ("" in (one[1], other[1]) or one[1] == other[1])


def _of_sysctls(pod: Object, allowed: Sequence[str]) -> Refusal | None:
    for sysctl in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        name = sysctl["name"].replace("/", ".")
        if name not in SAFE_SYSCTLS and not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
    return None


def _of_system(pod: Object) -> Refusal | None:
    """Linux runs here, and nothing that was made for another."""
    if (pod["spec"].get("os") or {}).get("name", "linux") != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if (pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/os", "linux") != "linux":
        message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Refusal("PodOSSelectorNodeLabelDoesNotMatch", message)
    return None


def _of_apparmor(pod: Object) -> Refusal | None:
    """The container runtime is told to leave AppArmor alone, so that no profile would be held."""
    contexts = [pod["spec"], *pods.all_containers(pod)]
    profiles = [(one.get("securityContext") or {}).get("appArmorProfile") or {} for one in contexts]
    if any((profile.get("type") or "Unconfined") != "Unconfined" for profile in profiles):
        return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    return None


def _of_groups(pod: Object, has_policy: bool) -> Refusal | None:
    """``Strict`` leaves out the groups that the image's /etc/group gives; containerd before 2.0 always adds them."""
    if has_policy:
        return None
    if (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        message = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Refusal("SupplementalGroupsPolicyNotSupported", message)
    return None
