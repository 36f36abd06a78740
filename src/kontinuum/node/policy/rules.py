"""What policies mean for the packet filter: chains for pods that are isolated alike, sets of peers' addresses. Pure.

    forward ──▶ belongs to a connection that was let through? ──▶ passes
            ──▶ the source is isolated:      egress/…   ─┐
            ──▶ the destination is isolated: ingress/… ──┴─▶ a rule lets it through (return), or the end: drop

Judged where packets pass from one wire to another: after Services' addresses were translated, before the source is
masqueraded. What a pod and its own node say to each other does not pass there, and is always allowed, as Kubernetes
wants it: probes must arrive.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence

from kontinuum.api.machinery.objects import Object
from kontinuum.node.policy.selection import Allowance, Block, Direction, Isolation, Pod, Ports, World, isolations
from kontinuum.node.ruleset import Fragment, Frame, Set

WORDS = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
ENDS: dict[Direction, tuple[str, str]] = {"ingress": ("daddr", "saddr"), "egress": ("saddr", "daddr")}
"""Which address of a packet is the pod's, and which its peer's."""


def frame() -> Frame:
    """The sets that tell which pods are isolated, and the chain where packets are judged.

    It reads ``hairpins4`` and ``hairpins6`` (address pairs), which belong to the service proxy.
    """
    rules = ["type filter hook forward priority 0; policy accept;", "ct state established,related accept"]
    sets: dict[str, Set] = {}
    for family, (ip, address) in WORDS.items():
        sets |= {
            f"strict{family}": Set("set", f"type {address}; flags interval;"),
            f"known{family}": Set("set", f"type {address};"),
            f"egress{family}": Set("map", f"type {address} : verdict;"),
            f"ingress{family}": Set("map", f"type {address} : verdict;"),
        }
        rules += [
            # Nobody can be kept from itself.
            f"ct status dnat {ip} saddr . {ip} daddr @hairpins{family} accept",
            # A pod that has just got its address may be one that a policy isolates: nothing passes until that is known.
            f"{ip} saddr @strict{family} {ip} saddr != @known{family} drop",
            f"{ip} daddr @strict{family} {ip} daddr != @known{family} drop",
            f"{ip} saddr vmap @egress{family}",
            f"{ip} daddr vmap @ingress{family}",
        ]
    return Frame(sets, {"policies": tuple(rules)})


def fragment(policies: Sequence[Object], world: World, *, node: str, networks: Sequence[str]) -> Fragment:
    """What all policies together contribute on ``node``; ``networks`` are those of its own pods."""
    if not policies:
        return Fragment()
    made = _Made()
    for pod in world.pods:
        if pod.node != node:
            continue
        for ip in pod.ips:
            made.share(f"known{_family(ip)}", ip, "")
        for direction, isolation in isolations(pod, policies, world).items():
            for family in WORDS:
                ips = pod.ips_of(family)
                if ips:
                    chain = made.chain(direction, family, isolation, pod)
                    for ip in ips:
                        made.share(f"{direction}{family}", ip, f"jump {chain}")
    for network in networks:
        made.share(f"strict{_family(network)}", network, "")
    return Fragment(made.sets, made.chains, made.shared)


class _Made:
    """Collects chains and sets; equal ones are made once, because their names are made of their contents."""

    def __init__(self) -> None:
        self.sets: dict[str, Set] = {}
        self.chains: dict[str, tuple[str, ...]] = {}
        self.shared: dict[str, dict[str, str]] = {}

    def share(self, name: str, key: str, value: str) -> None:
        self.shared.setdefault(name, {})[key] = value

    def chain(self, direction: Direction, family: int, isolation: Isolation, pod: Pod) -> str:
        rules = dict.fromkeys(
            f"{peer}{ports}return"
            for allowance in isolation.allowances
            for peer, ports in self._sentences(direction, family, allowance, pod)
        )
        # Names of peers' sets follow from who is chosen, so pods that are isolated alike share a chain.
        content = (*sorted(rules), "drop")
        name = f"{direction}{family}/{_digest(content)}"
        self.chains[name] = content
        return name

    def _sentences(
        self, direction: Direction, family: int, allowance: Allowance, pod: Pod
    ) -> Iterable[tuple[str, str]]:
        """Pairs of what a rule asks of the peer's address and of the port; either may be "" for nothing."""
        for ports in allowance.ports if allowance.ports is not None else (None,):
            target = pod if direction == "ingress" else None
            for words in _port_words(ports, target):
                for peer in self._peers(direction, family, allowance):
                    yield peer, words
            if direction == "egress" and ports is not None and ports.names:
                yield from self._named(family, allowance, ports)

    def _peers(self, direction: Direction, family: int, allowance: Allowance) -> Iterable[str]:
        ip, (_, end) = WORDS[family][0], ENDS[direction]
        if allowance.is_everybody:
            yield ""
            return
        addresses = sorted({address for pod in allowance.pods for address in pod.ips_of(family)})
        if addresses:
            yield f"{ip} {end} @{self._set_of(f'peers{family}', f'type {WORDS[family][1]};', addresses)} "
        for block in allowance.blocks:
            if _family(block.network) == family:
                yield _block_words(f"{ip} {end}", block)

    def _named(self, family: int, allowance: Allowance, ports: Ports) -> Iterable[tuple[str, str]]:
        """A named port of egress is whatever each peer calls so; of peers that are no pods, none."""
        ip, address = WORDS[family]
        elements = sorted(
            {
                f"{one} . {ports.protocol.lower()} . {peer.ports[(name, ports.protocol)]}"
                for peer in allowance.pods
                for name in ports.names
                if (name, ports.protocol) in peer.ports
                for one in peer.ips_of(family)
            }
        )
        if elements:
            name = self._set_of(f"named{family}", f"type {address} . inet_proto . inet_service;", elements)
            yield f"{ip} daddr . meta l4proto . th dport @{name} ", ""

    def _set_of(self, kind: str, specification: str, elements: Sequence[str]) -> str:
        name = f"{kind}/{_digest(elements)}"
        self.sets[name] = Set("set", specification, dict.fromkeys(elements, ""))
        return name


def _port_words(ports: Ports | None, target: Pod | None) -> Iterable[str]:
    """What a rule asks of the protocol and port. Names are the ``target``'s own; without one they are not said here."""
    if ports is None:
        yield ""
        return
    protocol = ports.protocol.lower()
    if ports.is_every:
        yield f"meta l4proto {protocol} "
        return
    named = (
        [target.ports[(name, ports.protocol)] for name in ports.names if (name, ports.protocol) in target.ports]
        if target
        else []
    )
    ranges = merged([*ports.ranges, *((number, number) for number in named)])
    if ranges:
        words = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
        yield f"meta l4proto {protocol} th dport {{ {words} }} "


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in ranges that do not touch; nft refuses overlapping ones."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _block_words(end: str, block: Block) -> str:
    besides = [ipaddress.ip_network(one) for one in block.besides]
    four = [one for one in besides if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in besides if isinstance(one, ipaddress.IPv6Network)]
    left_out = [*map(str, ipaddress.collapse_addresses(four)), *map(str, ipaddress.collapse_addresses(six))]
    without = f"{end} != {{ {', '.join(left_out)} }} " if left_out else ""
    return f"{end} {block.network} {without}"


def _family(text: str) -> int:
    return ipaddress.ip_network(text).version


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
