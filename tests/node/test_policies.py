"""Policies and pods against an oracle: what passes is what Kubernetes' words allow, no more and no less."""

from __future__ import annotations

import ipaddress
import itertools
import re
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from tests.node.nft import Table

from kontinuum.api.machinery.objects import Object
from kontinuum.node.policy import rules
from kontinuum.node.policy.rules import fragment, merged
from kontinuum.node.policy.selection import Pod, World, pod_of
from kontinuum.node.proxy.rules import Networks
from kontinuum.node.proxy.rules import frame as proxy_frame
from kontinuum.node.ruleset import NOTHING, Fragment, Ruleset

NODE, NETWORK = "here", "10.244.0.0/24"
OUTSIDE = ("192.0.2.1", "198.51.100.7", "10.244.1.9")
PORTS = (80, 81, 8080)
FRAME = proxy_frame(Networks((NETWORK,), ("10.244.0.0/16",), ())) | rules.frame()


@dataclass(frozen=True)
class Packet:
    """The first of a connection."""

    source: str
    destination: str
    protocol: str
    port: int


# -- the kernel's judgement, of the rules as they are written


def passes(made: Fragment, packet: Packet) -> bool:
    for direction, address in (("egress", packet.source), ("ingress", packet.destination)):
        verdict = made.shared.get(f"{direction}4", {}).get(address)
        if verdict and not any(_matches(rule, packet, made) for rule in made.chains[verdict.removeprefix("jump ")]):
            return False
    return True


def _matches(rule: str, packet: Packet, made: Fragment) -> bool:
    """Whether one rule lets the packet through; the sentences of the language that ``rules`` writes, and no others."""
    rest = rule
    while rest not in ("return", "drop"):
        if found := re.match(r"ip (saddr|daddr) (!= )?(@\S+|\{[^}]*\}|[\d]\S*) ", rest):
            ip = packet.source if found[1] == "saddr" else packet.destination
            if _is_in(ip, found[3], made) == bool(found[2]):
                return False
        elif found := re.match(r"meta l4proto (\w+) ", rest):
            if found[1] != packet.protocol:
                return False
        elif found := re.match(r"th dport \{([^}]*)\} ", rest):
            ends = [one.strip().partition("-") for one in found[1].split(",")]
            if not any(int(low) <= packet.port <= int(high or low) for low, _, high in ends):
                return False
        elif found := re.match(r"ip daddr \. meta l4proto \. th dport @(\S+) ", rest):
            if f"{packet.destination} . {packet.protocol} . {packet.port}" not in made.sets[found[1]].elements:
                return False
        else:
            raise AssertionError(f"who understands {rest!r}?")
        rest = rest[found.end() :]
    return rest == "return"


def _is_in(ip: str, words: str, made: Fragment) -> bool:
    if words.startswith("@"):
        return ip in made.sets[words[1:]].elements
    return any(ipaddress.ip_address(ip) in ipaddress.ip_network(one.strip()) for one in words.strip("{}").split(","))


# -- what Kubernetes' words say


def allowed(policies: list[Object], world: World, packet: Packet) -> bool:
    by_ip = {pod.ips[0]: pod for pod in world.pods}
    source, destination = by_ip.get(packet.source), by_ip.get(packet.destination)
    for kind, field, end, subject, peer, ip in (
        ("Egress", "egress", "to", source, destination, packet.destination),
        ("Ingress", "ingress", "from", destination, source, packet.source),
    ):
        if subject is None or subject.node != NODE:
            continue
        holding = [
            one["spec"] for one in policies
            if one["metadata"]["namespace"] == subject.namespace and kind in one["spec"]["policyTypes"]
            and has(one["spec"]["podSelector"], subject.labels)
        ]  # fmt: skip
        if holding and not any(
            lets_through(rule, end, subject.namespace, world, peer, ip, packet, destination)
            for spec in holding
            for rule in spec.get(field, [])
        ):
            return False
    return True


def lets_through(
    rule: Object, end: str, namespace: str, world: World, peer: Pod | None, ip: str, packet: Packet, target: Pod | None
) -> bool:
    def is_named(one: Object) -> bool:
        if "ipBlock" in one:
            block = one["ipBlock"]
            inside = ipaddress.ip_address(ip) in ipaddress.ip_network(block["cidr"])
            return inside and not any(
                ipaddress.ip_address(ip) in ipaddress.ip_network(x) for x in block.get("except", [])
            )
        if peer is None:
            return False
        if "namespaceSelector" in one:
            there = peer.namespace in world.namespaces and has(
                one["namespaceSelector"], world.namespaces[peer.namespace]
            )
        else:
            there = peer.namespace == namespace
        return there and has(one.get("podSelector", {}), peer.labels)

    def is_port(one: Object) -> bool:
        if one.get("protocol", "TCP").lower() != packet.protocol:
            return False
        port = one.get("port")
        if isinstance(port, str):
            # A name is the destination's; a peer of egress that is no pod has none.
            by_pod = (
                end == "from" or not rule.get("to") or any(is_named(x) for x in rule.get(end, []) if "ipBlock" not in x)
            )
            return by_pod and target is not None and target.ports.get((port, packet.protocol.upper())) == packet.port
        return port is None or port <= packet.port <= one.get("endPort", port)

    return (not rule.get(end) or any(map(is_named, rule[end]))) and (
        not rule.get("ports") or any(map(is_port, rule["ports"]))
    )


def has(selector: Object, labels: Any) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


# -- worlds


SELECTORS = st.sampled_from(
    [{}, {"matchLabels": {"app": "a"}}, {"matchLabels": {"app": "b"}}, {"matchLabels": {"app": "no"}}]
)
TEAMS = st.sampled_from([{}, {"matchLabels": {"team": "x"}}, {"matchLabels": {"team": "no"}}])
BLOCKS = st.sampled_from([
    {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16", "10.244.0.0/24"]}, {"cidr": "192.0.2.0/24"},
    {"cidr": "10.244.0.0/28", "except": ["10.244.0.4/32"]},
])  # fmt: skip
PEERS = st.one_of(
    st.builds(lambda one: {"podSelector": one}, SELECTORS),
    st.builds(lambda one: {"namespaceSelector": one}, TEAMS),
    st.builds(lambda one, two: {"namespaceSelector": one, "podSelector": two}, TEAMS, SELECTORS),
    st.builds(lambda one: {"ipBlock": one}, BLOCKS),
)
PORT = st.sampled_from([
    {}, {"protocol": "UDP"}, {"port": 80}, {"protocol": "TCP", "port": 80, "endPort": 81}, {"port": 81},
    {"port": "web"}, {"protocol": "UDP", "port": "web"}, {"port": "none"},
])  # fmt: skip


def rule_of(end: str) -> st.SearchStrategy[Object]:
    ports = st.lists(PORT, max_size=2)
    return st.builds(lambda peers, ports: {end: peers, "ports": ports}, st.lists(PEERS, max_size=2), ports)


@st.composite
def policy_objects(draw: st.DrawFn) -> list[Object]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        spec = {
            "podSelector": draw(SELECTORS),
            "policyTypes": draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]])),
            "ingress": draw(st.lists(rule_of("from"), max_size=2)),
            "egress": draw(st.lists(rule_of("to"), max_size=2)),
        }
        made.append(
            {"metadata": {"namespace": draw(st.sampled_from(["one", "two"])), "name": f"p{number}"}, "spec": spec}
        )
    return made


@st.composite
def worlds(draw: st.DrawFn) -> World:
    pods = [
        Pod(
            namespace=draw(st.sampled_from(["one", "two"])),
            name=f"pod-{number}",
            labels=draw(st.sampled_from([{"app": "a"}, {"app": "b"}, {}])),
            node=draw(st.sampled_from([NODE, NODE, "there"])),
            ips=(f"10.244.0.{number + 3}",),
            ports=draw(st.sampled_from([{}, {("web", "TCP"): 8080}, {("web", "TCP"): 80, ("web", "UDP"): 81}])),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    return World(tuple(pods), {"one": {"team": "x"}, "two": {}})


@settings(max_examples=40, deadline=None)
@given(policy_objects(), worlds())
def test_what_passes_is_what_the_policies_allow(policies: list[Object], world: World) -> None:
    made = fragment(policies, world, node=NODE, networks=[NETWORK])
    places = [*(pod.ips[0] for pod in world.pods), *OUTSIDE]
    for source in places:
        for destination in places:
            if source == destination:
                continue
            for protocol, port in (("tcp", 80), ("tcp", 81), ("tcp", 8080), ("udp", 81), ("icmp", 0)):
                packet = Packet(source, destination, protocol, port)
                assert passes(made, packet) == allowed(policies, world, packet), packet


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(policy_objects(), worlds()), min_size=1, max_size=3))
def test_the_kernel_takes_every_change(steps: list[tuple[list[Object], World]]) -> None:
    ruleset, kernel = Ruleset("inet t", FRAME), Table()
    kernel.apply(ruleset.whole())
    for policies, world in steps:
        ruleset.put("policies", fragment(policies, world, node=NODE, networks=[NETWORK]))
        kernel.apply(ruleset.take_transaction())
    ruleset.put("policies", NOTHING)
    kernel.apply(ruleset.take_transaction())
    assert set(kernel.chains) == set(FRAME.chains)


def a_pod(name: str, ip: str) -> Pod:
    return Pod("one", name, {"app": "a"}, NODE, (ip,), {})


def policy(**spec: Any) -> Object:
    return {"metadata": {"namespace": "one", "name": "p"}, "spec": {"podSelector": {}, **spec}}


def test_without_policies_there_are_no_rules_and_with_one_unknown_addresses_are_held_back() -> None:
    world = World((a_pod("a", "10.244.0.3"),), {"one": {}})
    assert fragment([], world, node=NODE, networks=[NETWORK]) == NOTHING
    made = fragment([policy(policyTypes=["Ingress"])], world, node=NODE, networks=[NETWORK])
    assert made.shared["strict4"] == {NETWORK: ""} and made.shared["known4"] == {"10.244.0.3": ""}


def test_a_peer_that_comes_is_one_element_of_a_set_that_many_pods_share() -> None:
    wants = policy(policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": {}}]}])
    pods = [a_pod(f"p{number}", f"10.244.0.{number}") for number in range(3, 60)]
    made = fragment([wants], World(tuple(pods), {"one": {}}), node=NODE, networks=[NETWORK])
    assert len(made.sets) == len(made.chains) == 1


def test_pods_without_an_address_of_their_own_are_nobodys_business() -> None:
    running = {"phase": "Running", "podIP": "10.244.0.3"}
    base = {"metadata": {"namespace": "one", "name": "p"}, "spec": {}, "status": running}
    assert pod_of(base) is not None
    assert pod_of({**base, "spec": {"hostNetwork": True}}) is None
    assert pod_of({**base, "status": {**running, "phase": "Succeeded"}}) is None
    assert pod_of({**base, "status": {}}) is None


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)).map(lambda one: (one[0], one[0] + one[1]))))
def test_merged_ranges_are_the_same_numbers_and_do_not_touch(ranges: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    assert {n for low, high in found for n in range(low, high + 1)} == {
        n for low, high in ranges for n in range(low, high + 1)
    }
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(found))
