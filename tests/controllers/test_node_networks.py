"""Each node has a network of its own for its pods: never another's, never a different one."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import EVENTS, NODES
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import internal_error
from kontinuum.controllers.lib.cidrs import Pieces
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

SMALL = ControllersSettings(cluster_cidrs="10.1.0.0/22")
"""Room for four nodes; three are there from the beginning."""


def networks(cluster: Cluster) -> dict[str, list[str]]:
    return {name_of(one): (one.get("spec") or {}).get("podCIDRs") or [] for one in cluster.everything(NODES)}


def node(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": spec}


def told(cluster: Cluster) -> list[str]:
    return [one["message"] for one in cluster.everything(EVENTS) if one["source"]["component"] == "cidrAllocator"]


def test_nodes_get_pieces_and_give_them_back_when_they_go() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(NODES, node("mine", podCIDR="10.1.1.0/24", podCIDRs=["10.1.1.0/24"]))
        await cluster.settle(5)
        found = networks(cluster)
        assert sorted(itertools.chain(*found.values())) == ["10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"]
        assert all(one["spec"]["podCIDR"] == one["spec"]["podCIDRs"][0] for one in cluster.everything(NODES))
        await cluster.client.create(NODES, node("late"))
        await cluster.settle(5)
        assert networks(cluster)["late"] == []
        for beat in range(3):
            await cluster.client.patch(NODES, "late", {"metadata": {"annotations": {"beat": str(beat)}}})
            await cluster.settle(20)
        assert told(cluster) == ["Node late status is now: CIDRNotAvailable"]
        assert [one["count"] for one in cluster.everything(EVENTS) if one["reason"] == "CIDRNotAvailable"] == [1]
        await cluster.client.delete(NODES, "mine")
        await cluster.settle(5)
        assert networks(cluster)["late"] == ["10.1.1.0/24"]
        assert {name: one for name, one in networks(cluster).items() if name != "late"} == {
            name: one for name, one in found.items() if name != "mine"
        }

    scenario(main, SMALL)


def test_two_families_and_no_part_of_the_services() -> None:
    settings = ControllersSettings(
        cluster_cidrs="10.0.0.0/14,fd00::/56", service_cidrs="10.0.0.0/16", node_cidr_prefix_ipv4=16
    )

    async def main(cluster: Cluster) -> None:
        await cluster.settle(5)
        assert sorted(networks(cluster).values()) == [
            ["10.1.0.0/16", "fd00::/64"], ["10.2.0.0/16", "fd00:0:0:1::/64"], ["10.3.0.0/16", "fd00:0:0:2::/64"],
        ]  # fmt: skip
        await cluster.client.create(NODES, node("late"))
        await cluster.settle(5)
        assert networks(cluster)["late"] == [], "half of what it needs is nothing"

    scenario(main, settings)


def test_settings_that_cannot_be_kept_are_refused() -> None:
    for wrong in (
        {"cluster_cidrs": "10.0.0.0"}, {"cluster_cidrs": "10.0.0.0/25"}, {"cluster_cidrs": "10.0.0.0/16,10.1.0.0/16"},
        {"service_cidrs": "many"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="cidr"):
            ControllersSettings(**wrong)  # type: ignore[arg-type]


def check_history(cluster: Cluster) -> None:
    """Over all that was ever stored: no two nodes with overlapping networks at a time, and none with another later."""
    now: dict[str, list[str]] = {}
    for entry in cluster.api.storage.log:
        if entry.resource != NODES:
            continue
        if entry.new is None:
            assert entry.old is not None
            now.pop(name_of(entry.old), None)
            continue
        name, has = name_of(entry.new), (entry.new.get("spec") or {}).get("podCIDRs") or []
        assert now.get(name) in (None, [], has), f"{name} changed from {now.get(name)} to {has}"
        now[name] = has
        every = [ipaddress.ip_network(one) for one in itertools.chain(*now.values())]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(every, 2)), now


@pytest.mark.parametrize("seed", range(4))
def test_never_two_with_one_network_whatever_happens_to_the_controllers(seed: int) -> None:
    """Nodes come and go, answers are lost, writes refused, controllers killed."""
    chance = random.Random(seed)

    async def main() -> None:
        async with running(ControllersSettings(cluster_cidrs="10.1.0.0/21")) as cluster:
            for number in range(25):
                nodes = [name for name in networks(cluster) if name.startswith("x")]
                if nodes and chance.random() < 0.4:
                    await cluster.client.delete(NODES, chance.choice(nodes))
                else:
                    await cluster.client.create(NODES, node(f"x{number}"))
                written = len(cluster.faults.writes)
                match chance.randrange(6):
                    case 0:
                        cluster.faults.lost |= {written + 1, written + 2}
                    case 1:
                        cluster.faults.errors[written + 1] = internal_error("refused")
                    case 2:
                        cluster.replace_controllers()
                    case 3:
                        cluster.api.drop_watches()
                await asyncio.sleep(chance.choice([0.0, 0.002, 0.5, 5]))
            cluster.faults.lost, cluster.faults.errors = set(), {}
            await cluster.settle(120)
            check_history(cluster)
            has = [bool(one) for one in networks(cluster).values()]
            assert has.count(True) == min(len(has), 8)

    virtual_time.run(main)


class PiecesModel:
    """A slow, obvious one."""

    def __init__(self, network: str, prefix: int) -> None:
        self.free = list(ipaddress.ip_network(network).subnets(new_prefix=prefix))


@given(st.lists(st.integers(0, 9), max_size=40))
def test_pieces_are_those_that_nobody_has(moves: list[int]) -> None:
    """A move of 0 to 3 gives one back; all others ask for one."""
    pieces, every = Pieces(ipaddress.ip_network("10.0.0.0/27"), 30), PiecesModel("10.0.0.0/27", 30).free
    foreign = ipaddress.ip_network("10.0.0.4/32")
    pieces.take(foreign)
    has: list[Any] = []
    for move in moves:
        if move < 4 and move < len(has):
            pieces.release(has.pop(move))
            continue
        found = pieces.allocate()
        assert (found is None) == (len(has) == len(every) - 1)
        if found is not None:
            assert found in every and found not in has and not found.overlaps(foreign)
            has.append(found)
