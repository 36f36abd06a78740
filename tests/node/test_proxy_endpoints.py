"""Which endpoints a node uses: the API's rules, case by case, and what must never happen, searched for."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from kontinuum.api.machinery.objects import Object
from kontinuum.node.proxy.endpoints import Endpoint, Place, cluster_wide, endpoints_of, local, usable
from kontinuum.node.proxy.rules import numbered

HERE = Place("here", "z1")


def told(address: str, *, node: str = "", **rest: Any) -> Object:
    conditions = {name: rest.pop(name) for name in ("ready", "serving", "terminating") if name in rest}
    hints: Object = {}
    for name, field in (("zones", "forZones"), ("nodes", "forNodes")):
        if rest.get(name):
            hints[field] = [{"name": one} for one in rest[name]]
    return {"addresses": [address], "conditions": conditions, "nodeName": node, "hints": hints}


def slice_of(*endpoints: Object, port: int = 80, name: str = "", family: str = "IPv4", protocol: str = "TCP") -> Object:
    ports = [{"name": name, "port": port, "protocol": protocol}]
    return {"addressType": family, "ports": ports, "endpoints": list(endpoints)}


def found(*slices: Object, port: str = "", protocol: str = "TCP", family: int = 4) -> list[Endpoint]:
    return endpoints_of(slices, port=port, protocol=protocol, family=family, node=HERE.node)


def addresses(endpoints: list[Endpoint]) -> list[str]:
    return [one.address for one in endpoints]


def test_ports_are_told_apart_by_name_protocol_and_family() -> None:
    slices = [
        slice_of(told("10.0.0.1"), name="web", port=8080),
        slice_of(told("10.0.0.2"), name="dns", port=53, protocol="UDP"),
        slice_of(told("fd00::1"), name="web", family="IPv6"),
    ]
    assert [one.key for one in found(*slices, port="web")] == ["10.0.0.1 . 8080"]
    assert addresses(found(*slices, port="dns", protocol="UDP")) == ["10.0.0.2"]
    assert addresses(found(*slices, port="web", family=6)) == ["fd00::1"]


def test_an_address_in_two_slices_is_as_ready_as_the_readier_one_says() -> None:
    [one] = found(slice_of(told("10.0.0.1", ready=False)), slice_of(told("10.0.0.1", ready=True)))
    assert one.is_ready


def test_endpoints_on_their_way_out_serve_only_when_nobody_else_does() -> None:
    leaving = told("10.0.0.1", ready=False, serving=True, terminating=True, node="here")
    dead = told("10.0.0.2", ready=False, serving=False, terminating=True)
    starting = told("10.0.0.3", ready=False, serving=False)
    ready = told("10.0.0.4", ready=True, node="there")
    assert addresses(usable(found(slice_of(leaving, dead, starting)))) == ["10.0.0.1"]
    assert addresses(usable(found(slice_of(leaving, dead, starting, ready)))) == ["10.0.0.4"]
    # The node's own are looked at by themselves: this one has nobody else.
    assert addresses(local(found(slice_of(leaving, dead, starting, ready)))) == ["10.0.0.1"]


def test_hints_are_followed_only_if_all_have_them_and_one_is_for_us() -> None:
    near, far = told("10.0.0.1", zones=["z1"]), told("10.0.0.2", zones=["z2"])
    unhinted = told("10.0.0.3")
    assert addresses(cluster_wide(found(slice_of(near, far)), HERE)) == ["10.0.0.1"]
    assert len(cluster_wide(found(slice_of(near, far, unhinted)), HERE)) == 3
    assert len(cluster_wide(found(slice_of(near, far)), Place("here", "z3"))) == 2
    assert len(cluster_wide(found(slice_of(near, far)), Place("here"))) == 2


def test_the_same_node_comes_before_the_same_zone() -> None:
    ours, zone = told("10.0.0.1", zones=["z1"], nodes=["here"]), told("10.0.0.2", zones=["z1"], nodes=["there"])
    assert addresses(cluster_wide(found(slice_of(ours, zone)), HERE)) == ["10.0.0.1"]
    assert addresses(cluster_wide(found(slice_of(zone)), HERE)) == ["10.0.0.2"]


ENDPOINTS = st.lists(
    st.builds(
        told,
        st.integers(1, 9).map(lambda number: f"10.0.0.{number}"),
        ready=st.booleans(),
        serving=st.booleans(),
        terminating=st.booleans(),
        node=st.sampled_from(["here", "there"]),
        zones=st.lists(st.sampled_from(["z1", "z2"]), max_size=2),
    ),
    max_size=6,
)


@given(ENDPOINTS)
def test_nobody_is_sent_to_the_dead_or_into_a_void_while_somebody_serves(endpoints: list[Object]) -> None:
    every = found(slice_of(*endpoints))
    chosen = cluster_wide(every, HERE)
    assert all(one.is_ready or (one.is_serving and one.is_leaving) for one in chosen)
    assert bool(chosen) == any(one.is_ready or (one.is_serving and one.is_leaving) for one in every)
    assert all(one.is_ready for one in chosen) or not any(one.is_ready for one in every)
    assert all(one.is_local for one in local(every))


NAMES = st.lists(st.sampled_from([f"10.0.0.{number} . 80" for number in range(12)]), unique=True)


@given(NAMES, NAMES)
def test_numbers_have_no_gap_and_who_can_keeps_its_own(before: list[str], wanted: list[str]) -> None:
    known = numbered(before, {})
    now = numbered(wanted, known)
    assert sorted(map(int, now)) == list(range(len(wanted)))
    assert sorted(now.values()) == sorted(wanted)
    kept = {number for number, value in known.items() if value in wanted and int(number) < len(wanted)}
    assert all(now[number] == known[number] for number in kept)
