"""What a NetworkPolicy's words mean: which pods it is for, and which peers and ports its rules name. Pure.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of
from kontinuum.api.machinery.selectors import from_object

Direction = Literal["ingress", "egress"]
TYPES: Mapping[Direction, str] = {"ingress": "Ingress", "egress": "Egress"}
FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """As much of a pod as policies look at."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    ips: tuple[str, ...]
    ports: Mapping[tuple[str, str], int]
    """Numbers of its containers' ports by name and protocol."""

    def ips_of(self, family: int) -> list[str]:
        return [ip for ip in self.ips if ipaddress.ip_address(ip).version == family]


def pod_of(obj: Object) -> Pod | None:
    """None for a pod that has no address of its own: not yet, not any more, or because it has its node's."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ips = [one["ip"] for one in status.get("podIPs") or ()] or ([status["podIP"]] if status.get("podIP") else [])
    if not ips or spec.get("hostNetwork") or status.get("phase") in FINISHED:
        return None
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    ports = {
        (port["name"], port.get("protocol") or "TCP"): int(port["containerPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("name")
    }
    addresses = tuple(str(ipaddress.ip_address(ip)) for ip in ips)
    return Pod(namespace_of(obj), name_of(obj), labels_of(obj), spec.get("nodeName") or "", addresses, ports)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that policies can refer to."""

    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    """Labels of each."""


@dataclass(frozen=True, slots=True)
class Block:
    """A network without some of its parts."""

    network: str
    besides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """What a rule says of one protocol."""

    protocol: str
    ranges: tuple[tuple[int, int], ...] = ()
    """Both ends inclusive."""
    names: tuple[str, ...] = ()
    is_every: bool = False
    """Every port of the protocol."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One rule of a policy: what it lets through."""

    pods: tuple[Pod, ...] = ()
    blocks: tuple[Block, ...] = ()
    is_everybody: bool = False
    ports: tuple[Ports, ...] | None = None
    """None: everything, whatever its protocol."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What holds for a pod in one direction: only what one of ``allowances`` lets through."""

    allowances: tuple[Allowance, ...] = field(default=())


def isolations(pod: Pod, policies: Iterable[Object], world: World) -> dict[Direction, Isolation]:
    """For each direction in which some policy selects the pod. Where none does, everything is let through."""
    found: dict[Direction, list[Allowance]] = {}
    for policy in policies:
        spec = policy.get("spec") or {}
        if namespace_of(policy) != pod.namespace or not _selects(spec.get("podSelector"), pod.labels):
            continue
        for direction, kind in TYPES.items():
            if kind in policy_types(spec):
                found.setdefault(direction, []).extend(
                    _allowance(rule, direction, pod.namespace, world) for rule in spec.get(direction) or ()
                )
    return {direction: Isolation(tuple(allowances)) for direction, allowances in found.items()}


def policy_types(spec: Object) -> list[str]:
    """As the API server fills them in, for an object from before it did."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _allowance(rule: Object, direction: Direction, namespace: str, world: World) -> Allowance:
    peers = rule.get("from" if direction == "ingress" else "to")
    ports = tuple(_ports(rule["ports"])) if rule.get("ports") else None
    if not peers:
        # All pods, because each has names of its own for ports.
        return Allowance(pods=tuple(world.pods), is_everybody=True, ports=ports)
    blocks = tuple(
        Block(peer["ipBlock"]["cidr"], tuple(peer["ipBlock"].get("except") or ()))
        for peer in peers
        if peer.get("ipBlock")
    )
    pods = tuple(
        pod
        for pod in world.pods
        if any(_is_peer(peer, pod, namespace, world) for peer in peers if not peer.get("ipBlock"))
    )
    return Allowance(pods=pods, blocks=blocks, ports=ports)


def _is_peer(peer: Object, pod: Pod, namespace: str, world: World) -> bool:
    if peer.get("namespaceSelector") is None:
        is_there = pod.namespace == namespace
    else:
        labels = world.namespaces.get(pod.namespace)
        is_there = labels is not None and _selects(peer["namespaceSelector"], labels)
    return is_there and (peer.get("podSelector") is None or _selects(peer["podSelector"], pod.labels))


def _ports(ports: Sequence[Object]) -> Iterable[Ports]:
    by_protocol: dict[str, list[Object]] = {}
    for port in ports:
        by_protocol.setdefault(port.get("protocol") or "TCP", []).append(port)
    for protocol, wanted in sorted(by_protocol.items()):
        told = [one.get("port") for one in wanted]
        ranges = [
            (one["port"], one.get("endPort") or one["port"]) for one in wanted if isinstance(one.get("port"), int)
        ]
        yield Ports(
            protocol,
            ranges=tuple(ranges),
            names=tuple(sorted(one for one in told if isinstance(one, str))),
            is_every=any(one is None for one in told),
        )


def _selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    return from_object(selector or {}).matches(labels)
