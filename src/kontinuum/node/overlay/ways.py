"""Which way leads to which node's pods, and what must change in the kernel for that. Pure.

A tunnel needs nothing exchanged between its ends: a node's hardware address in the overlay follows from its address.

    10.244.2.0/24 via 10.0.0.7                                   a neighbour
    10.244.3.0/24 via 10.244.3.1 dev kx... onlink                 a tunnel; the gateway is the other node's own address
    10.244.3.1 is at 0a:6b:c0:00:02:09 (neighbour entry), 0a:6b:c0:00:02:09 is behind 192.0.2.9 (forwarding entry)
"""

from __future__ import annotations

import hashlib
import ipaddress
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.foundation.addresses import is_inside, nth_address
from kontinuum.node.settings import NodeSettings

T = TypeVar("T")
PROTOCOL = 107
"""Who made a route, in the kernel's table (/etc/iproute2/rt_protos): nobody else's number, and ``k`` in ASCII."""
HEADERS = {4: 50, 6: 70}
"""Bytes that a tunnel adds to a packet, by the IP version of the network between nodes."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node."""

    name: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    """Of its pods."""


@dataclass(frozen=True, slots=True)
class Way:
    """How packets for one network of pods leave this node."""

    gateway: str
    tunnel: str = ""
    """The node's address at which the tunnel ends; "": a plain route by ``gateway``."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the kernel says of this host."""

    near: tuple[str, ...] = ()
    """Networks whose hosts are neighbours."""
    routes: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """Ours: gateway, and whether it leads into the tunnel, by network."""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """In the overlay: hardware address by address."""
    ends: Mapping[str, str] = field(default_factory=dict)
    """Of tunnels: a node's address by hardware address."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Lines for ``ip -batch`` and ``bridge -batch``; those that take away come first in the one, last in the other."""

    ip: tuple[str, ...] = ()
    bridge: tuple[str, ...] = ()


def device(settings: NodeSettings) -> str:
    """The name of the tunnels' interface."""
    return f"kx{settings.instance}"


def metric(settings: NodeSettings) -> int:
    """Of our routes: two installations in one network namespace must not take each other's away."""
    return int(settings.instance[:6], 16) + 1


def overlay_id(settings: NodeSettings) -> int:
    """The same on all nodes of a cluster, and another in most others: 24 bits."""
    return zlib.crc32(settings.cluster_cidr.encode()) & 0xFF_FFFF or 1


def hardware_address(address: str) -> str:
    """A node's in the overlay: locally administered, and the node's address in it if that is short enough."""
    found = ipaddress.ip_address(address)
    tail = found.packed if found.version == 4 else hashlib.sha256(found.packed).digest()[:4]
    return (b"\x0a\x6b" + tail).hex(":")


def peers(nodes: Iterable[Object], settings: NodeSettings) -> tuple[list[Peer], list[str]]:
    """The other nodes, as far as they are believed; and what is not believed, for the log.

    A node says itself what its networks are when it brings them along: only what lies in the cluster's networks, and
    not in our own pods' or another's, is led to it.
    """
    found, problems = [], []
    taken = [*settings.pod_networks, *settings.service_networks]
    # The oldest first: who came first has it.
    for node in sorted(nodes, key=lambda one: (one["metadata"].get("creationTimestamp") or "", name_of(one))):
        name, spec = name_of(node), node.get("spec") or {}
        if name == settings.name:
            continue
        said = spec.get("podCIDRs") or [one for one in [spec.get("podCIDR")] if one]
        good = [one for one in said if _lies_in(one, settings.cluster_networks) and not _overlaps(one, taken)]
        taken += good
        problems += [f"{name} has {one}, which is another's or not the cluster's" for one in said if one not in good]
        addresses = [
            one["address"]
            for one in (node.get("status") or {}).get("addresses") or ()
            if one.get("type") == "InternalIP" and _is_address(one.get("address"))
        ]
        if good and addresses:
            found.append(Peer(name, tuple(addresses), tuple(good)))
    return found, problems


def ways(others: Sequence[Peer], settings: NodeSettings, near: Sequence[str]) -> tuple[dict[str, Way], list[str]]:
    """The way to each network of pods; and which nodes cannot be reached in the way that is wanted, for the log."""
    found: dict[str, Way] = {}
    problems = []
    own = {ipaddress.ip_network(one).version for one in settings.pod_networks}
    for peer in others:
        for network in peer.networks:
            version = ipaddress.ip_network(network).version
            if version not in own:
                continue  # Nobody here could speak to them.
            of_family = [one for one in peer.addresses if ipaddress.ip_address(one).version == version]
            direct = next((one for one in of_family if is_inside(one, tuple(near))), "")
            if direct and settings.overlay != "vxlan":
                found[network] = Way(direct)
            elif settings.overlay != "routes":
                found[network] = Way(nth_address(network, 1), tunnel=peer.addresses[0])
            else:
                problems.append(
                    f"{peer.name} ({', '.join(peer.addresses)}) is no neighbour, and node.overlay is routes"
                )
    return found, problems


def changes(ground: Ground, wanted: Mapping[str, Way], settings: NodeSettings) -> Changes:
    """What brings the kernel from what it has to what it should have."""
    tunnel, who = device(settings), f"proto {PROTOCOL} metric {metric(settings)}"
    routes = {network: (way.gateway, bool(way.tunnel)) for network, way in wanted.items()}
    macs = {way.gateway: hardware_address(way.tunnel) for way in wanted.values() if way.tunnel}
    ends = {hardware_address(way.tunnel): way.tunnel for way in wanted.values() if way.tunnel}
    lines = [f"route del {network} {who}" for network in ground.routes if network not in routes]
    lines += [f"neigh del {address} dev {tunnel}" for address in ground.neighbours if address not in macs]
    for address, mac in _new(ground.neighbours, macs).items():
        lines.append(f"neigh replace {address} lladdr {mac} dev {tunnel} nud permanent")
    for network, (gateway, is_tunnelled) in _new(ground.routes, routes).items():
        if is_tunnelled:
            # The node's own processes speak as its address towards pods, or the answer would not come by the tunnel.
            source = next(one for one in settings.gateways if (":" in one) == (":" in gateway))
            lines.append(f"route replace {network} via {gateway} dev {tunnel} onlink src {source} {who}")
        else:
            lines.append(f"route replace {network} via {gateway} {who}")
    bridge = [
        f"fdb replace {mac} dev {tunnel} dst {end} self permanent" for mac, end in _new(ground.ends, ends).items()
    ]
    bridge += [f"fdb del {mac} dev {tunnel} dst {end} self" for mac, end in ground.ends.items() if mac not in ends]
    return Changes(tuple(lines), tuple(bridge))


def _new(has: Mapping[str, T], wants: Mapping[str, T]) -> dict[str, T]:
    return {key: value for key, value in wants.items() if has.get(key) != value}


def _is_address(text: object) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def _lies_in(network: str, wider: Sequence[str]) -> bool:
    try:
        found = ipaddress.ip_network(network)
    except ValueError:
        return False
    return is_inside(str(found.network_address), tuple(wider)) and is_inside(str(found.broadcast_address), tuple(wider))


def _overlaps(network: str, taken: Sequence[str]) -> bool:
    found = ipaddress.ip_network(network)
    return any(found.version == one.version and found.overlaps(one) for one in map(ipaddress.ip_network, taken))
