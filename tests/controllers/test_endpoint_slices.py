"""EndpointSlices say where a Service's pods are, and follow them with few writes."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.cluster import Cluster, deployment, scenario

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, ENDPOINTSLICES, NODES, SERVICES
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.controllers.reconcilers.endpointslice import LARGEST, plan, wanted


def service(name: str = "web", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.0.0.9", "ipFamilies": ["IPv4"], **spec}
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid of {name}"}, "spec": spec}


def pod(number: int, *, ready: bool = True, leaving: bool = False, **spec: Any) -> Object:
    metadata: Object = {"name": f"web-{number}", "namespace": "default", "uid": str(number), "labels": {"app": "web"}}
    if leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    address = f"10.1.{number // 250}.{number % 250 + 1}"
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    return {"metadata": metadata, "spec": {"nodeName": "node-0", **spec}, "status": status}


def carried_out(slices: list[Object], service: Object, pods: list[Object]) -> tuple[list[Object], int]:
    """The slices after a plan, and how many writes it took."""
    todo = plan(service, wanted(service, pods, {"node-0": "west"}), slices)
    found = {name_of(one): one for one in slices}
    for one in todo.delete:
        del found[name_of(one)]
    for one in (*todo.update, *todo.create):
        found[name_of(one)] = one
    return list(found.values()), len(todo.create) + len(todo.update) + len(todo.delete)


def told(slices: list[Object]) -> list[str]:
    return sorted(endpoint["targetRef"]["uid"] for one in slices for endpoint in one["endpoints"])


@given(st.lists(st.sets(st.integers(0, 450), max_size=450), min_size=1, max_size=4))
def test_slices_hold_every_pod_once_and_are_left_alone_when_nothing_changes(states: list[set[int]]) -> None:
    web, slices = service(), list[Object]()
    for numbers in states:
        pods = [pod(number) for number in sorted(numbers)]
        slices, _ = carried_out(slices, web, pods)
        assert told(slices) == sorted(map(str, numbers))
        assert all(len(one["endpoints"]) <= LARGEST for one in slices)
        assert len(slices) == 1 or all(one["endpoints"] for one in slices)
        assert carried_out(slices, web, pods) == (slices, 0)


@given(st.integers(1, 450), st.data())
def test_one_pod_more_or_less_or_changed_is_one_write(count: int, data: st.DataObject) -> None:
    web = service()
    pods = [pod(number) for number in range(count)]
    slices, _ = carried_out([], web, pods)
    chosen = data.draw(st.integers(0, count - 1))
    changed = [pod(number, ready=number != chosen) for number in range(count)]
    slices, writes = carried_out(slices, web, changed)
    assert writes == 1
    slices, writes = carried_out(slices, web, [*changed, pod(count)])
    assert writes == 1
    _, writes = carried_out(slices, web, [one for one in changed if name_of(one) != f"web-{chosen}"] + [pod(count)])
    assert writes == 1


def test_an_endpoint_says_what_its_pod_is() -> None:
    leaving = pod(3, leaving=True, hostname="three", subdomain="web")
    [group] = wanted(service(), [pod(1), pod(2, ready=False), leaving], {"node-0": "west"})
    assert group.ports == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    one, two, three = group.endpoints.values()
    assert one["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert two["conditions"] == {"ready": False, "serving": False, "terminating": False}
    assert three["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert (one["addresses"], one["nodeName"], one["zone"]) == (["10.1.0.2"], "node-0", "west")
    assert "hostname" not in one and three["hostname"] == "three"


def test_pods_that_are_not_ready_are_published_if_the_service_says_so() -> None:
    [group] = wanted(service(publishNotReadyAddresses=True), [pod(1, ready=False)], {})
    assert group.endpoints["1"]["conditions"]["ready"] is True


def test_pods_that_offer_a_port_by_another_number_get_a_slice_of_their_own() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    offering = [{"ports": [{"name": "web", "containerPort": 8080}]}]
    pods = [pod(1, containers=offering), pod(2), pod(3, containers=[{"ports": [{"name": "web", "containerPort": 99}]}])]
    slices, _ = carried_out([], named, pods)
    assert sorted((one["ports"][0]["port"] if one["ports"] else 0, told([one])) for one in slices) == [
        (0, ["2"]), (99, ["3"]), (8080, ["1"]),
    ]  # fmt: skip


def test_both_families_are_told_of() -> None:
    both = pod(1)
    both["status"]["podIPs"].append({"ip": "fd00::1"})
    slices, _ = carried_out([], service(ipFamilies=["IPv4", "IPv6"]), [both])
    assert {one["addressType"]: one["endpoints"][0]["addresses"] for one in slices} == {
        "IPv4": ["10.1.0.2"], "IPv6": ["fd00::1"],
    }  # fmt: skip


def test_traffic_is_kept_near_where_the_service_asks_for_it() -> None:
    [group] = wanted(service(trafficDistribution="PreferSameNode"), [pod(1)], {"node-0": "west"})
    assert group.endpoints["1"]["hints"] == {"forZones": [{"name": "west"}], "forNodes": [{"name": "node-0"}]}
    [group] = wanted(service(trafficDistribution="PreferClose"), [pod(1, ready=False)], {"node-0": "west"})
    assert "hints" not in group.endpoints["1"]


def test_slices_follow_a_rollout_and_a_change_of_zone() -> None:
    async def main(cluster: Cluster) -> None:
        await cluster.client.create(SERVICES, service())
        await cluster.client.create(DEPLOYMENTS, deployment("web", replicas=3))
        await cluster.settle(30)
        [found] = cluster.everything(ENDPOINTSLICES)
        assert labels_of(found)["kubernetes.io/service-name"] == "web"
        assert found["metadata"]["ownerReferences"][0]["kind"] == "Service"
        assert told([found]) == sorted(one["metadata"]["uid"] for one in cluster.ready_pods())
        before = told([found])
        await cluster.set_image("image:2")
        await cluster.settle(60)
        [found] = cluster.everything(ENDPOINTSLICES)
        assert told([found]) == sorted(one["metadata"]["uid"] for one in cluster.ready_pods()) != before
        for name in cluster.nodes.names:
            zone = {"metadata": {"labels": {"topology.kubernetes.io/zone": "east"}}}
            await cluster.client.patch(NODES, name, zone)
        await asyncio.sleep(5)
        [found] = cluster.everything(ENDPOINTSLICES)
        assert {one["zone"] for one in found["endpoints"]} == {"east"}

    scenario(main)
