"""Services of type LoadBalancer have an address of the pool each, and never two the same."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, running, scenario

from kontinuum.api.kubernetes.resources import EVENTS, SERVICES
from kontinuum.api.machinery.objects import Object, key_of, name_of
from kontinuum.api.machinery.status import internal_error
from kontinuum.controllers.lib.loadbalancers import FINALIZER, NoAddress, Pool, addresses_of, choose
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import virtual_time

TWO = ControllersSettings(load_balancer_pool="192.0.2.1-192.0.2.2,2001:db8::1-2001:db8::9")


def service(name: str = "web", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"type": "LoadBalancer", **spec}}


def found(cluster: Cluster, name: str = "web") -> Object:
    obj = cluster.api.storage.get(SERVICES, f"default/{name}")
    assert obj is not None
    return obj


def has(cluster: Cluster, name: str = "web") -> list[str]:
    return addresses_of(found(cluster, name))


def told(cluster: Cluster, name: str = "web") -> set[tuple[str, str]]:
    events = [one for one in cluster.everything(EVENTS) if one["involvedObject"]["name"] == name]
    return {(one["reason"], one["message"]) for one in events}


async def make(cluster: Cluster, name: str = "web", **spec: Any) -> None:
    await cluster.client.create(SERVICES, service(name, **spec))
    await cluster.settle(5)


async def change(cluster: Cluster, spec: Object, name: str = "web") -> None:
    await cluster.client.patch(SERVICES, name, {"spec": spec}, namespace="default")
    await cluster.settle(5)


def test_a_service_gets_an_address_and_gives_it_back() -> None:
    async def main(cluster: Cluster) -> None:
        await make(cluster)
        assert found(cluster)["status"]["loadBalancer"] == {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}
        assert found(cluster)["metadata"]["finalizers"] == [FINALIZER]
        assert told(cluster) == {
            ("EnsuringLoadBalancer", "Ensuring load balancer"), ("EnsuredLoadBalancer", "Ensured load balancer"),
        }  # fmt: skip
        before = len(cluster.faults.writes)
        await cluster.settle(600)
        assert len(cluster.faults.writes) == before
        await change(cluster, {"type": "ClusterIP"})
        assert found(cluster)["status"]["loadBalancer"] == {} and "finalizers" not in found(cluster)["metadata"]
        await change(cluster, {"type": "LoadBalancer"})
        await cluster.client.delete(SERVICES, "web", namespace="default")
        await cluster.settle(5)
        assert cluster.api.storage.get(SERVICES, "default/web") is None
        assert ("DeletedLoadBalancer", "Deleted load balancer") in told(cluster)

    scenario(main, TWO)


def test_who_gets_nothing_waits_and_says_so_until_another_ends() -> None:
    async def main(cluster: Cluster) -> None:
        for name in ("a", "b", "c"):
            await make(cluster, name)
        assert [has(cluster, name) for name in "abc"] == [["192.0.2.1"], ["192.0.2.2"], []]
        problem = "Error syncing load balancer: failed to ensure load balancer: no IPv4 address of the pool is free"
        assert told(cluster, "c") == {("SyncLoadBalancerFailed", problem)}
        await cluster.client.delete(SERVICES, "a", namespace="default")
        await cluster.settle(5)
        assert has(cluster, "c") == ["192.0.2.1"]

    scenario(main, TWO)


def test_other_classes_are_left_alone_but_their_addresses_are_not_given_twice() -> None:
    async def main(cluster: Cluster) -> None:
        await make(cluster, "theirs", loadBalancerClass="example.com/metal")
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "x.example.com"}]}}
        await cluster.client.patch(SERVICES, "theirs", {"status": status}, namespace="default", subresource="status")
        await make(cluster, "ours", loadBalancerClass="kontinuum.dev/pool")
        assert has(cluster, "ours") == ["192.0.2.2"]
        assert found(cluster, "theirs")["status"] == status and "finalizers" not in found(cluster, "theirs")["metadata"]
        await cluster.client.delete(SERVICES, "theirs", namespace="default")
        await cluster.settle(5)
        assert cluster.api.storage.get(SERVICES, "default/theirs") is None

    scenario(main, TWO)


def test_a_service_may_ask_for_an_address_and_for_both_families() -> None:
    async def main(cluster: Cluster) -> None:
        await make(cluster, loadBalancerIP="192.0.2.2")
        assert has(cluster) == ["192.0.2.2"]
        await change(cluster, {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"})
        assert has(cluster) == ["192.0.2.2", "2001:db8::1"]
        await change(cluster, {"loadBalancerIP": "2001:DB8::5"})
        assert has(cluster) == ["192.0.2.2", "2001:db8::5"]
        await change(cluster, {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"})
        assert has(cluster) == ["2001:db8::5"]
        await make(cluster, "other", loadBalancerIP="192.0.2.2")
        assert has(cluster, "other") == ["192.0.2.2"]
        for address, problem in (
            ("192.0.2.2", "belongs to another Service"), ("192.0.2.77", "is not in the pool"), ("x", "is no address"),
            ("2001:db8::7", "is of none of the Service's families"),
        ):  # fmt: skip
            await make(cluster, "late", loadBalancerIP=address)
            assert has(cluster, "late") == []
            assert any(
                message.endswith(f"spec.loadBalancerIP {address} {problem}") for _, message in told(cluster, "late")
            )
            await cluster.client.delete(SERVICES, "late", namespace="default")

    scenario(main, TWO)


def test_a_family_that_the_pool_lacks_is_done_without_unless_it_is_required() -> None:
    pool = Pool.parse("192.0.2.0/30")
    both = {"ipFamilies": ["IPv6", "IPv4"]}
    assert choose(service(**both, ipFamilyPolicy="PreferDualStack"), [], [], pool) == ["192.0.2.1"]
    with pytest.raises(NoAddress, match="the pool has no IPv6 addresses"):
        choose(service(**both, ipFamilyPolicy="RequireDualStack"), [], [], pool)


@pytest.mark.parametrize("wrong", ["192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "192.0.2", "192.0.2.1/24"])
def test_a_pool_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="load_balancer_pool: "):
        ControllersSettings(load_balancer_pool=wrong)


@given(st.sets(st.integers(0, 20)))
def test_what_is_free_is_in_the_pool_and_nobodys(numbers: set[int]) -> None:
    pool = Pool.parse("192.0.2.0/29,192.0.2.12-192.0.2.14")
    every = [f"192.0.2.{number}" for number in (1, 2, 3, 4, 5, 6, 12, 13, 14)]
    taken = {f"192.0.2.{number}" for number in numbers}
    left = [one for one in every if one not in taken]
    assert pool.free(4, taken) == (left[0] if left else None)
    assert all(pool.holds(one) for one in every)


def check_history(cluster: Cluster) -> None:
    """Over all that was ever stored: no address twice at a time, none out of the pool, none without the finalizer."""
    now: dict[str, list[str]] = {}
    for entry in cluster.api.storage.log:
        if entry.resource != SERVICES:
            continue
        if entry.new is None:
            assert entry.old is not None and not addresses_of(entry.old), "a Service vanished with its address"
            now.pop(key_of(entry.old), None)
            continue
        now[key_of(entry.new)] = addresses_of(entry.new)
        every = [one for some in now.values() for one in some]
        assert len(every) == len(set(every)), now
        if addresses_of(entry.new):
            assert FINALIZER in entry.new["metadata"]["finalizers"]


@pytest.mark.parametrize("seed", range(4))
def test_no_address_twice_whatever_happens_to_the_controllers(seed: int) -> None:
    """Services come, change and go, answers are lost, writes refused, controllers killed."""
    chance = random.Random(seed)
    settings = ControllersSettings(load_balancer_pool="192.0.2.1-192.0.2.5")

    async def main() -> None:
        async with running(settings) as cluster:
            for number in range(25):
                names = [name_of(one) for one in cluster.everything(SERVICES)]
                action = chance.random()
                if names and action < 0.3:
                    await cluster.client.delete(SERVICES, chance.choice(names), namespace="default")
                elif names and action < 0.5:
                    kind = chance.choice(["ClusterIP", "LoadBalancer"])
                    patch = {"spec": {"type": kind, "loadBalancerIP": chance.choice([None, "192.0.2.3"])}}
                    await cluster.client.patch(SERVICES, chance.choice(names), patch, namespace="default")
                else:
                    await cluster.client.create(SERVICES, service(f"x{number}"))
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
            await cluster.settle(400)
            check_history(cluster)
            wanting = [one for one in cluster.everything(SERVICES) if one["spec"]["type"] == "LoadBalancer"]
            assert all("deletionTimestamp" not in one["metadata"] for one in wanting)
            used = {address for one in cluster.everything(SERVICES) for address in addresses_of(one)}
            waiting = [one for one in wanting if not addresses_of(one) and not one["spec"].get("loadBalancerIP")]
            assert len(used) == 5 or not waiting, "an address is free, and somebody waits"

    virtual_time.run(main)
