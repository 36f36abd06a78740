"""Ranges of Services' addresses say that they are ready, and outlive the addresses that only they hold."""

from __future__ import annotations

import pytest
from tests.controllers.cluster import Cluster, scenario

from kontinuum.api.kubernetes.resources import IPADDRESSES, SERVICECIDRS
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.reconcilers.servicecidr import FINALIZER, IN_USE, READY, is_needed


def cidr(name: str, *cidrs: str, leaving: bool = False) -> Object:
    metadata: Object = {"name": name} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {})
    return {"metadata": metadata, "spec": {"cidrs": list(cidrs)}}


def address(name: str) -> Object:
    family = "IPv6" if ":" in name else "IPv4"
    labels = {"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    return {"metadata": {"name": name, "labels": labels}}


@pytest.mark.parametrize(
    ("others", "addresses", "needed"),
    [
        ([], [], False),
        ([], ["10.1.0.7"], True),
        ([], ["10.2.0.7", "fd00::1"], False),
        ([cidr("wide", "10.0.0.0/8")], ["10.1.0.7"], False),
        ([cidr("same", "10.1.0.0/24")], ["10.1.0.7"], False),
        ([cidr("part", "10.1.0.0/25")], ["10.1.0.7"], False),
        ([cidr("part", "10.1.0.0/25")], ["10.1.0.7", "10.1.0.200"], True),
        ([cidr("going", "10.0.0.0/8", leaving=True)], ["10.1.0.7"], True),
    ],
)
def test_a_range_is_needed_for_what_no_other_holds(others: list[Object], addresses: list[str], needed: bool) -> None:
    assert is_needed(cidr("mine", "10.1.0.0/24"), others, addresses) is needed


def test_a_range_waits_for_its_last_address() -> None:
    async def main(cluster: Cluster) -> None:
        def found() -> Object:
            obj = cluster.api.storage.get(SERVICECIDRS, "more")
            assert obj is not None
            return obj

        await cluster.client.create(SERVICECIDRS, cidr("more", "10.1.0.0/24"))
        await cluster.client.create(IPADDRESSES, address("10.1.0.7"))
        await cluster.settle(5)
        ready = get_condition(found(), "Ready")
        assert ready is not None and (ready["status"], ready["message"], ready["reason"]) == ("True", READY, "")
        assert found()["metadata"]["finalizers"] == [FINALIZER]
        await cluster.client.delete(SERVICECIDRS, "more")
        await cluster.settle(60)
        ready = get_condition(found(), "Ready")
        assert ready is not None and (ready["status"], ready["message"]) == ("False", IN_USE)
        assert ready["reason"] == "Terminating"
        await cluster.client.delete(IPADDRESSES, "10.1.0.7")
        await cluster.settle(20)
        assert cluster.api.storage.get(SERVICECIDRS, "more") is None

    scenario(main)


def test_a_range_that_nobody_needs_rests_before_it_goes() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SERVICECIDRS, cidr("more", "10.1.0.0/24"))
        await cluster.settle(5)
        await cluster.client.delete(SERVICECIDRS, "more")
        await cluster.settle(5)
        assert cluster.api.storage.get(SERVICECIDRS, "more") is not None
        await cluster.client.create(IPADDRESSES, address("10.1.0.9"))
        await cluster.settle(30)
        assert cluster.api.storage.get(SERVICECIDRS, "more") is not None, "an address came while it rested"

    scenario(main)
