"""The packet filter's rules for Services: pure functions from what is wanted to chains, sets and elements.

    prerouting, output ──▶ check: not admitted? nobody there? ──▶ refused
                      └──▶ services: address . protocol . port ──▶ external/… ──▶ cluster/… or local/…: one endpoint
    postrouting ──▶ learn: who has just been given which endpoint (session affinity)
               └──▶ masquerade: what must come back through us

Every Service port is a few elements of maps that all share and a chain with one rule. Its endpoints are elements of a
map of its own, numbered from 0, and the rule takes a number by chance: so the change of one endpoint is the change of
one element, however many there are, and a packet passes a handful of rules, however many Services there are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.addresses import is_inside
from kontinuum.node.proxy.endpoints import Endpoint, Place, cluster_wide, endpoints_of, local, usable
from kontinuum.node.proxy.frontends import Frontend, frontends_of
from kontinuum.node.ruleset import Elements, Fragment, Frame, Set

MASQUERADE = "0x00004000"
"""The bit of a packet's mark that kube-proxy uses for it too."""
WORDS = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
MOST_CLIENTS = 65536
"""How many clients of one Service port are remembered for session affinity."""
LEARNED = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks of the cluster, in CIDR notation; each may hold both families."""

    pods: tuple[str, ...]
    """Of this node's pods."""
    cluster: tuple[str, ...]
    """Of all pods."""
    services: tuple[str, ...]
    masquerade: bool = True
    """Give what leaves the cluster the node's address."""
    closed: tuple[str, ...] = ()
    """Addresses of this node that only pods and the node itself may reach."""

    def of(self, networks: Sequence[str], family: int) -> list[str]:
        return [one for one in networks if ipaddress.ip_network(one).version == family]


# -- what stands for ever


def frame(networks: Networks) -> Frame:
    """The sets that all Services share, and the chains by which packets enter."""
    chains: dict[str, list[str]] = {
        # A reset arrives at once: messages of ICMP are rationed by the kernel (six, then one a second to each client),
        # and a sandbox takes none of them for an answer to its connection.
        "refuse": ["meta l4proto tcp reject with tcp reset", "reject"],
        "check": [],
        "services": [],
        "learn": [],
        "check-prerouting": ["type filter hook prerouting priority -110; policy accept;", "ct state new jump check"],
        "check-output": ["type filter hook output priority -110; policy accept;", "ct state new jump check"],
        "nat-prerouting": ["type nat hook prerouting priority -100; policy accept;", "jump services"],
        "nat-output": ["type nat hook output priority -100; policy accept;", "jump services"],
        "unserved-forward": ["type filter hook forward priority -10; policy accept;"],
        "unserved-output": ["type filter hook output priority -10; policy accept;"],
        "own-input": ["type filter hook input priority -10; policy accept;"],
        "learn-postrouting": [
            "type filter hook postrouting priority 90; policy accept;",
            "ct state new ct status dnat jump learn",
        ],
        "nat-postrouting": [
            "type nat hook postrouting priority 100; policy accept;",
            f"meta mark and {MASQUERADE} == {MASQUERADE} meta mark set meta mark xor {MASQUERADE} masquerade",
        ],
    }
    sets: dict[str, Set] = {}
    for family, (ip, address) in WORDS.items():
        sets |= {
            f"frontends{family}": Set("map", f"type {address} . inet_proto . inet_service : verdict;"),
            f"guarded{family}": Set("map", f"type {address} . inet_proto . inet_service : verdict;"),
            f"refused{family}": Set("map", f"type {address} . inet_proto . inet_service : verdict;"),
            f"node-ports{family}": Set("map", "type inet_proto . inet_service : verdict;"),
            f"refused-ports{family}": Set("map", "type inet_proto . inet_service : verdict;"),
            f"hairpins{family}": Set("set", f"type {address} . {address};"),
            f"virtual{family}": Set("set", f"type {address};"),
            f"learn{family}": Set("map", f"type inet_proto . {address} : verdict;"),
        }
        for protocol in LEARNED:
            sets[f"learn-{protocol}{family}"] = Set("map", "type inet_service : verdict;")
        here = f"fib daddr type local {ip} daddr != {LOOPBACK[family]} meta l4proto . th dport vmap"
        whole = f"{ip} daddr . meta l4proto . th dport vmap"
        chains["check"] += [
            f"{whole} @guarded{family}",
            f"{whole} @refused{family}",
            f"{here} @refused-ports{family}",
        ]
        chains["services"] += [f"{whole} @frontends{family}", f"{here} @node-ports{family}"]
        chains["learn"] += [
            f"meta l4proto . ct original {ip} daddr vmap @learn{family}",
            *(
                f"meta l4proto {protocol} ct original {ip} daddr != @virtual{family} "
                f"ct original proto-dst vmap @learn-{protocol}{family}"
                for protocol in LEARNED
            ),
        ]
        # A pod that is its own Service's endpoint would see its own address as the client's, and drop it.
        chains["nat-postrouting"].append(f"ct status dnat {ip} saddr . {ip} daddr @hairpins{family} masquerade")
        unserved = networks.of(networks.services, family)
        if unserved:
            # Nobody listens at a Service's other ports, nor at addresses that no Service has.
            rule = f"{ip} daddr {_any_of(unserved)} goto refuse"
            chains["unserved-forward"].append(rule)
            chains["unserved-output"].append(rule)
        pods, cluster = networks.of(networks.pods, family), networks.of(networks.cluster, family)
        if networks.masquerade and pods:
            inside = _any_of([*cluster, MULTICAST[family]])
            chains["nat-postrouting"].append(f"{ip} saddr {_any_of(pods)} {ip} daddr != {inside} masquerade")
        closed = networks.of(networks.closed, family)
        if closed and cluster:
            chains["own-input"].append(
                f'iifname != "lo" {ip} daddr {_any_of(closed)} {ip} saddr != {_any_of(cluster)} drop'
            )
    return Frame(sets, {name: tuple(rules) for name, rules in chains.items()})


# -- one Service


def service_fragment(
    service: Object, slices: Sequence[Object], place: Place, networks: Networks, before: Fragment
) -> Fragment:
    """What one Service contributes to the table.

    ``before`` is what it contributes now: endpoints keep their numbers, so that few elements change.
    """
    sets: dict[str, Set] = {}
    chains: dict[str, tuple[str, ...]] = {}
    shared: dict[str, dict[str, str]] = {}
    for frontend in frontends_of(service):
        endpoints = endpoints_of(
            slices, port=frontend.name, protocol=frontend.protocol, family=frontend.family, node=place.node
        )
        one = _port(frontend, endpoints, place, networks, before)
        sets |= one.sets
        for name, rules in one.chains.items():
            # Only the chains that learn are common to several ports of a Service.
            chains[name] = tuple(dict.fromkeys((*chains.get(name, ()), *rules)))
        for name, elements in one.shared.items():
            shared.setdefault(name, {}).update(elements)
    return Fragment(sets, chains, shared)


def _port(
    frontend: Frontend, endpoints: Sequence[Endpoint], place: Place, networks: Networks, before: Fragment
) -> Fragment:
    near, here = cluster_wide(endpoints, place), local(endpoints)
    parts = _Parts(frontend, before)
    family = frontend.family
    parts.share(f"virtual{family}", dict.fromkeys(frontend.virtual_ips, ""))
    # By address and not by what slices say of the node: those that people write say nothing.
    own = [one for one in usable(endpoints) if is_inside(one.address, networks.pods)]
    parts.share(f"hairpins{family}", {f"{one.address} . {one.address}": "" for one in own})
    wants_here = frontend.is_internal_local or (frontend.is_external and frontend.is_external_local)
    if near:
        parts.balance("cluster", near)
    if here and wants_here:
        parts.balance("local", here)
    inside, instead = ("local", here) if frontend.is_internal_local else ("cluster", near)
    if frontend.cluster_ip:
        parts.frontend(frontend.cluster_ip, inside if instead else "", is_anybody_there=bool(near))
    if frontend.is_external:
        parts.external(has_cluster=bool(near), has_local=bool(here), cluster=networks.of(networks.cluster, family))
    return parts.fragment()


class _Parts:
    """Collects what one port of a Service contributes."""

    def __init__(self, frontend: Frontend, before: Fragment) -> None:
        self._frontend = frontend
        self._before = before
        self._sets: dict[str, Set] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._shared: dict[str, dict[str, str]] = {}
        self._ip, self._address = WORDS[frontend.family]
        self._protocol = frontend.protocol.lower()

    def fragment(self) -> Fragment:
        return Fragment(self._sets, self._chains, {name: one for name, one in self._shared.items() if one})

    def share(self, name: str, elements: Elements) -> None:
        self._shared.setdefault(name, {}).update(elements)

    def balance(self, kind: str, endpoints: Sequence[Endpoint]) -> None:
        """The chain that leads a connection to one of ``endpoints``; ``kind`` is ``cluster`` or ``local``."""
        label, ip, protocol = self._frontend.label, self._ip, self._protocol
        name = f"endpoints-{kind}/{label}"
        known = self._before.sets[name].elements if name in self._before.sets else {}
        elements = numbered([one.key for one in endpoints], known)
        kinds = f"typeof numgen random mod 65536 : {ip} daddr . {protocol} dport;"
        self._sets[name] = Set("map", kinds, elements)
        rules = [f"meta l4proto {protocol} dnat {ip} to numgen random mod {len(elements)} map @{name}"]
        ports = {one.port for one in endpoints}
        if self._frontend.sticky_seconds and (ip == "ip" or len(ports) == 1):
            sticky = f"clients-{kind}/{label}"
            target, port = f"{self._address} . inet_service", ""
            if ip == "ip6":
                # nft 1.0.6 ends in an assertion where packets are to write an IPv6 address and a port together. So the
                # address alone is remembered; endpoints with different ports, which only ports with names can have,
                # cannot be sticky then.
                target, port = self._address, f" : {min(ports)}"
            kinds = f"type {self._address} : {target}; flags dynamic,timeout; size {MOST_CLIENTS};"
            self._sets[sticky] = Set("map", kinds)
            rules.insert(0, f"meta l4proto {protocol} dnat {ip} to {ip} saddr map @{sticky}{port}")
        self._chains[f"{kind}/{label}"] = tuple(rules)

    def _is_sticky(self, kind: str) -> bool:
        return f"clients-{kind}/{self._frontend.label}" in self._sets

    def frontend(self, address: str, kind: str, *, is_anybody_there: bool) -> None:
        """What happens at the cluster address; ``kind`` is the chain to take, "" if no endpoint may be used."""
        key = f"{address} . {self._protocol} . {self._frontend.port}"
        family = self._frontend.family
        if kind:
            self.share(f"frontends{family}", {key: f"goto {kind}/{self._frontend.label}"})
            self._learn(address, kind)
        else:
            self.share(f"refused{family}", {key: "drop" if is_anybody_there else "goto refuse"})

    def external(self, *, has_cluster: bool, has_local: bool, cluster: Sequence[str]) -> None:
        """What happens at the addresses and the port by which the world comes."""
        frontend, ip, label = self._frontend, self._ip, self._frontend.label
        family, name = frontend.family, f"external/{label}"
        rules: list[str] = []
        if has_cluster and not frontend.is_external_local:
            rules = [f"meta mark set meta mark or {MASQUERADE}", f"goto cluster/{label}"]
        elif has_cluster:
            # Who is inside the cluster is not held to the policy: it is there to keep outsiders' addresses.
            if cluster:
                rules.append(f"{ip} saddr {_any_of(cluster)} goto cluster/{label}")
            rules += [
                f"fib saddr type local meta mark set meta mark or {MASQUERADE}",
                f"fib saddr type local goto cluster/{label}",
            ]
            rules.append(f"goto local/{label}" if has_local else "drop")
        if rules:
            self._chains[name] = tuple(rules)
        self._guard()
        is_reached = has_local if frontend.is_external_local else has_cluster
        refusal = "drop" if has_cluster else "goto refuse"
        for address in (*frontend.external_ips, *frontend.balancer_ips):
            key = f"{address} . {self._protocol} . {frontend.port}"
            self._reach(f"frontends{family}", f"refused{family}", key, name if rules else "", refusal)
        if frontend.node_port:
            key = f"{self._protocol} . {frontend.node_port}"
            self._reach(f"node-ports{family}", f"refused-ports{family}", key, name if rules else "", refusal)
        if is_reached:
            kind, besides = ("local", cluster) if frontend.is_external_local else ("cluster", ())
            for address in (*frontend.external_ips, *frontend.balancer_ips):
                self._learn(address, kind, besides=besides)
            self._learn_node_port(kind, besides=besides)

    def _reach(self, reached: str, refused: str, key: str, chain: str, refusal: str) -> None:
        self.share(reached if chain else refused, {key: f"goto {chain}" if chain else refusal})

    def _guard(self) -> None:
        """Only some networks may come by the load balancer's addresses."""
        frontend = self._frontend
        if not frontend.balancer_sources:
            return
        name = f"guard/{frontend.label}"
        self._chains[name] = (f"{self._ip} saddr {_any_of(frontend.balancer_sources)} return", "drop")
        keys = (f"{one} . {self._protocol} . {frontend.port}" for one in frontend.balancer_ips)
        self.share(f"guarded{frontend.family}", dict.fromkeys(keys, f"jump {name}"))

    def _learn(self, address: str, kind: str, *, besides: Sequence[str] = ()) -> None:
        """Remember who has been given which endpoint at ``address``."""
        frontend = self._frontend
        if not self._is_sticky(kind):
            return
        # One chain for each address and protocol of the Service: the kernel cannot look up by original port there.
        name = f"learn/{frontend.family}/{frontend.namespace}/{frontend.service}/{self._protocol}"
        rule = self._remember(kind, besides, f"ct original proto-dst {frontend.port} ")
        self._chains[name] = tuple(dict.fromkeys((*self._chains.get(name, ()), rule)))
        self.share(f"learn{frontend.family}", {f"{self._protocol} . {address}": f"goto {name}"})

    def _learn_node_port(self, kind: str, *, besides: Sequence[str]) -> None:
        frontend = self._frontend
        if self._is_sticky(kind) and frontend.node_port:
            name = f"learn-port/{frontend.label}"
            self._chains[name] = (self._remember(kind, besides),)
            self.share(f"learn-{self._protocol}{frontend.family}", {str(frontend.node_port): f"goto {name}"})

    def _remember(self, kind: str, besides: Sequence[str], which: str = "") -> str:
        frontend, ip = self._frontend, self._ip
        who = f"{ip} saddr != {_any_of(besides)} " if besides else ""
        chosen = f"{ip} daddr . {self._protocol} dport" if ip == "ip" else f"{ip} daddr"
        return (
            f"meta l4proto {self._protocol} {which}{who}update @clients-{kind}/{frontend.label} "
            f"{{ {ip} saddr timeout {frontend.sticky_seconds}s : {chosen} }}"
        )


def numbered(wanted: Sequence[str], known: Elements) -> dict[str, str]:
    """``wanted`` numbered from 0 without a gap; what is ``known`` under a number that remains keeps it."""
    count, asked = len(wanted), set(wanted)
    kept = {number: value for number, value in known.items() if int(number) < count and value in asked}
    rest = sorted(asked - set(kept.values()))
    free = (str(number) for number in range(count) if str(number) not in kept)
    return {**kept, **dict(zip(free, rest, strict=True))}


def _any_of(networks: Sequence[str]) -> str:
    return networks[0] if len(networks) == 1 else f"{{ {', '.join(networks)} }}"
