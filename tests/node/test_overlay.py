"""Ways to other nodes' pods: what the kernel is told brings it where it should be, from wherever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.machinery.objects import Object
from kontinuum.node.overlay.ways import (
    Changes,
    Ground,
    Way,
    changes,
    device,
    hardware_address,
    metric,
    overlay_id,
    peers,
    ways,
)  # fmt: skip
from kontinuum.node.settings import NodeSettings

SETTINGS = NodeSettings(name="a", address="192.0.2.1", pod_cidr="10.244.0.0/24", service_cidrs="10.96.0.0/12")
NEAR = ("192.0.2.0/24",)


def node(name: str, address: str, *networks: str, created: str = "2026-01-01T00:00:00Z") -> Object:
    status = {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"podCIDRs": list(networks)},
        "status": status,
    }


def wanted(*nodes: Object, **settings: Any) -> dict[str, Way]:
    told = NodeSettings(
        name="a", address="192.0.2.1", pod_cidr="10.244.0.0/24", service_cidrs="10.96.0.0/12", **settings
    )
    return ways(peers(nodes, told)[0], told, NEAR)[0]


def after(ground: Ground, told: Changes) -> Ground:
    """The kernel, when it has carried out the lines; it refuses what is not there, or twice."""
    routes, neighbours, ends = dict(ground.routes), dict(ground.neighbours), dict(ground.ends)
    for line in told.ip:
        words = line.split()
        if words[0] == "route":
            assert line.endswith(f"proto 107 metric {metric(SETTINGS)}")
        match words[:2]:
            case ["route", "del"]:
                del routes[words[2]]
            case ["route", "replace"]:
                routes[words[2]] = (words[4], f"dev {device(SETTINGS)} onlink" in line)
            case ["neigh", "del"]:
                del neighbours[words[2]]
            case ["neigh", "replace"]:
                neighbours[words[2]] = words[4]
    for line in told.bridge:
        words = line.split()
        if words[1] == "del":
            del ends[words[2]]
        else:
            ends[words[2]] = words[6]
    return Ground(ground.near, routes, neighbours, ends)


def test_neighbours_get_routes_and_others_tunnels() -> None:
    near, far = node("b", "192.0.2.2", "10.244.1.0/24"), node("c", "198.51.100.3", "10.244.2.0/24")
    assert wanted(near, far) == {
        "10.244.1.0/24": Way("192.0.2.2"),
        "10.244.2.0/24": Way("10.244.2.1", tunnel="198.51.100.3"),
    }
    assert wanted(near, far, overlay="routes") == {"10.244.1.0/24": Way("192.0.2.2")}
    assert {way.tunnel for way in wanted(near, far, overlay="vxlan").values()} == {"192.0.2.2", "198.51.100.3"}
    told = replace_overlay("routes")
    _, problems = ways(peers([near, far], told)[0], told, NEAR)
    assert problems == ["c (198.51.100.3) is no neighbour, and node.overlay is routes"]


def replace_overlay(kind: Any) -> NodeSettings:
    return NodeSettings(name="a", address="192.0.2.1", overlay=kind)


@pytest.mark.parametrize(
    "claim",
    [
        "10.244.0.0/25",
        "0.0.0.0/0",
        "10.244.0.0/16",
        "10.96.0.0/24",
        "10.96.0.1/32",
        "192.0.2.0/24",
        "nonsense",
        "10.244.1.0/25",
    ],
)
def test_nobody_draws_in_what_is_not_his(claim: str) -> None:
    """Our own pods, everything, Services, the hosts themselves, and what another node had before."""
    honest = node("b", "192.0.2.2", "10.244.1.0/24")
    rogue = node("0", "192.0.2.9", claim, created="2026-02-02T00:00:00Z")
    found, problems = peers([rogue, honest], SETTINGS)
    assert [one.name for one in found] == ["b"]
    assert len(problems) == 1 and claim in problems[0]


def test_nodes_without_network_or_address_and_we_ourselves_need_no_way() -> None:
    assert (
        wanted(node("a", "192.0.2.1", "10.244.0.0/24"), node("b", "192.0.2.2"), node("c", "c", "10.244.1.0/24")) == {}
    )


def test_families_go_their_own_ways() -> None:
    told = NodeSettings(
        name="a", pod_cidr="10.244.0.0/24,fd00:0:0:1::/64", cluster_cidr="10.244.0.0/16,fd00::/48", address="192.0.2.1"
    )
    other = node("b", "192.0.2.2", "10.244.1.0/24", "fd00:0:0:2::/64")
    # Nodes that know each other by IPv4 alone carry IPv6 in a tunnel.
    found = ways(peers([other], told)[0], told, NEAR)[0]
    assert found == {"10.244.1.0/24": Way("192.0.2.2"), "fd00:0:0:2::/64": Way("fd00:0:0:2::1", tunnel="192.0.2.2")}
    [line] = [one for one in changes(Ground(), found, told).ip if one.startswith("route") and "fd00" in one]
    assert "src fd00:0:0:1::1" in line


def test_both_ends_of_a_tunnel_know_each_others_hardware_address_and_the_overlays_number() -> None:
    other = NodeSettings(name="b", data_dir="/elsewhere", address="198.51.100.3", pod_cidr="10.244.2.0/24")
    assert overlay_id(other) == overlay_id(SETTINGS) != overlay_id(NodeSettings(cluster_cidr="10.9.0.0/16"))
    assert hardware_address("198.51.100.3") == "0a:6b:c6:33:64:03"
    assert len({hardware_address(f"fd00::{one}") for one in range(50)}) == 50
    assert len(device(other)) <= 15 and metric(other) != metric(SETTINGS)


numbers = st.integers(1, 6)
views = st.dictionaries(numbers, st.sampled_from(["192.0.2.{}", "198.51.100.{}", "198.51.101.{}"]), max_size=6)


def nodes_of(view: dict[int, str]) -> list[Object]:
    return [node(f"n{one}", address.format(one), f"10.244.{one}.0/24") for one, address in view.items()]


@given(st.lists(st.tuples(views, st.sampled_from(["auto", "routes", "vxlan"])), min_size=1, max_size=5))
def test_whatever_came_before_the_kernel_has_what_is_wanted_and_nothing_else(history: list[tuple[Any, Any]]) -> None:
    ground = Ground(NEAR)
    for view, kind in history:
        found = wanted(*nodes_of(view), overlay=kind)
        ground = after(ground, changes(ground, found, SETTINGS))
        assert ground == after(Ground(NEAR), changes(Ground(NEAR), found, SETTINGS))
        assert set(ground.routes) == set(found)
        assert changes(ground, found, SETTINGS) == Changes(), "what is right is not touched"


@given(views, views)
def test_a_change_touches_only_what_it_is_about(one: Any, other: Any) -> None:
    first, second = wanted(*nodes_of(one)), wanted(*nodes_of(other))
    ground = after(Ground(NEAR), changes(Ground(NEAR), first, SETTINGS))
    told = changes(ground, second, SETTINGS)
    differing = {network for network in {*first, *second} if first.get(network) != second.get(network)}
    touched = {line.split()[2] for line in told.ip if line.startswith("route")}
    gateways = {way.gateway for view in (first, second) for network, way in view.items() if network in differing}
    assert touched <= differing, "a tunnel that ends elsewhere needs no other route"
    assert {line.split()[2] for line in told.ip if line.startswith("neigh")} <= gateways


def test_a_tunnel_that_becomes_a_route_takes_its_entries_along() -> None:
    tunnelled = wanted(node("b", "192.0.2.2", "10.244.1.0/24"), overlay="vxlan")
    ground = after(Ground(NEAR), changes(Ground(NEAR), tunnelled, SETTINGS))
    assert ground.neighbours and ground.ends
    plain = wanted(node("b", "192.0.2.2", "10.244.1.0/24"))
    assert after(ground, changes(ground, plain, SETTINGS)) == replace(
        ground, routes={"10.244.1.0/24": ("192.0.2.2", False)}, neighbours={}, ends={}
    )
