"""Services are given addresses and ports of nodes once each, however many write at once, and give them back."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from tests.apiserver.serving import Answer, Api, Certificates, serving

from kontinuum.apiserver.services import families, ranges
from kontinuum.apiserver.services.repair import repair
from kontinuum.store.memory.store import MemoryStore

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
DUAL = "10.96.0.0/16,fd00:10:96::/112"


def service(name: str, /, **spec: Any) -> dict[str, Any]:
    ports = spec.pop("ports", [{"port": 80}])
    spec = {"selector": {"app": name}, "ports": ports, **spec}
    return {"metadata": {"name": name}, "spec": {key: value for key, value in spec.items() if value is not None}}


def problem(answer: Answer) -> str:
    assert answer.code == 422, answer.body
    return str(answer.body["message"]).partition(" is invalid: ")[2]


async def test_an_address_is_given_and_proved_by_an_object(api: Api) -> None:
    spec = (await api.create(SERVICES, service("web"))).body["spec"]
    assert ipaddress.ip_address(spec["clusterIP"]) in ipaddress.ip_network("10.96.0.0/12")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    proof = (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).body
    assert proof["spec"]["parentRef"] == {
        "group": "", "resource": "services", "namespace": "default", "name": "web",
    }  # fmt: skip
    assert proof["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }  # fmt: skip
    await api.delete(f"{SERVICES}/web")
    assert (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).code == 404


async def test_a_manifest_can_be_applied_again(api: Api) -> None:
    manifest = service("web", type="NodePort")
    first = (await api.create(SERVICES, manifest)).body["spec"]
    again = await api.update(f"{SERVICES}/web", manifest)
    assert again.code == 200 and again.body["spec"] == first


async def test_an_address_may_be_asked_for_once(api: Api) -> None:
    asked = {"clusterIP": "10.96.0.50"}
    assert (await api.create(SERVICES, service("a", **asked))).body["spec"]["clusterIPs"] == ["10.96.0.50"]
    assert problem(await api.create(SERVICES, service("b", **asked))) == (
        'spec.clusterIPs: Invalid value: ["10.96.0.50"]: failed to allocate IP 10.96.0.50: '
        "provided IP is already allocated"
    )
    assert problem(await api.create(SERVICES, service("c", clusterIP="192.0.2.1"))) == (
        'spec.clusterIPs: Invalid value: ["192.0.2.1"]: failed to allocate IP 192.0.2.1: '
        "the provided network does not match the current range"
    )
    moved = await api.patch(f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.0.51", "clusterIPs": ["10.96.0.51"]}})
    assert problem(moved) == 'spec.clusterIPs[0]: Invalid value: ["10.96.0.51"]: may not change once set'


async def test_a_refused_service_keeps_nothing(api: Api) -> None:
    before = len((await api.get(ADDRESSES)).body["items"])
    refused = await api.create(SERVICES, service("web", type="NodePort", ports=[{"port": 0, "nodePort": 30099}]))
    assert refused.code == 422
    assert (await api.create(f"{SERVICES}?dryRun=All", service("web", type="NodePort"))).code == 201
    assert len((await api.get(ADDRESSES)).body["items"]) == before
    assert (
        await api.create(SERVICES, service("web", type="NodePort", ports=[{"port": 1, "nodePort": 30099}]))
    ).code == 201


async def test_headless_and_external_services_have_no_address(api: Api) -> None:
    headless = (await api.create(SERVICES, service("headless", clusterIP="None", ports=None))).body["spec"]
    assert headless["clusterIPs"] == ["None"] and headless["ipFamilies"] == ["IPv4"]
    free = (await api.create(SERVICES, service("free", clusterIP="None", selector=None))).body["spec"]
    assert (free["ipFamilies"], free["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")
    external = service("external", type="ExternalName", externalName="example.com", ports=None)
    found = (await api.create(SERVICES, external)).body["spec"]
    assert not found.keys() & {"clusterIP", "clusterIPs", "ipFamilies", "internalTrafficPolicy"}


async def test_another_type_gives_back_what_it_does_not_need(api: Api) -> None:
    spec = (await api.create(SERVICES, service("web", type="LoadBalancer", externalTrafficPolicy="Local"))).body["spec"]
    node_port, health = spec["ports"][0]["nodePort"], spec["healthCheckNodePort"]
    assert 30000 <= node_port <= 32767 and 30000 <= health <= 32767 and node_port != health
    inner = (await api.patch(f"{SERVICES}/web", {"spec": {"type": "ClusterIP"}})).body["spec"]
    dropped = {"allocateLoadBalancerNodePorts", "externalTrafficPolicy", "healthCheckNodePort"}
    assert not inner.keys() & dropped and "nodePort" not in inner["ports"][0]
    for number in (node_port, health):
        taken = service(f"s{number}", type="NodePort", ports=[{"port": 80, "nodePort": number}])
        assert (await api.create(SERVICES, taken)).code == 201
    outer = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    named = (await api.patch(f"{SERVICES}/web", outer)).body["spec"]
    assert "clusterIP" not in named
    assert (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).code == 404
    back = (await api.patch(f"{SERVICES}/web", {"spec": {"type": "ClusterIP", "externalName": None}})).body["spec"]
    assert (await api.get(f"{ADDRESSES}/{back['clusterIP']}")).code == 200


async def test_node_ports_are_asked_for_shared_by_protocols_and_refused(api: Api) -> None:
    both = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    ports = (await api.create(SERVICES, service("dns", type="NodePort", ports=both))).body["spec"]["ports"]
    assert ports[0]["nodePort"] == ports[1]["nodePort"]
    again = service("again", type="NodePort", ports=[{"port": 53, "nodePort": ports[0]["nodePort"]}])
    assert problem(await api.create(SERVICES, again)) == (
        f"spec.ports[0].nodePort: Invalid value: {ports[0]['nodePort']}: provided port is already allocated"
    )
    low = service("low", type="NodePort", ports=[{"port": 53, "nodePort": 53}])
    assert problem(await api.create(SERVICES, low)) == (
        "spec.ports[0].nodePort: Invalid value: 53: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767"
    )


async def test_many_at_once_get_an_address_and_a_port_each(api: Api) -> None:
    made = await asyncio.gather(*(api.create(SERVICES, service(f"s{number}", type="NodePort")) for number in range(60)))
    assert {one.code for one in made} == {201}
    assert len({one.body["spec"]["clusterIP"] for one in made}) == 60
    assert len({one.body["spec"]["ports"][0]["nodePort"] for one in made}) == 60


async def test_two_servers_on_one_store_never_give_out_the_same(certificates: Certificates) -> None:
    """A small range makes them meet; exactly as many Services as there is room for succeed."""
    store, settings = MemoryStore(), {"service_cidrs": "10.96.0.0/28", "node_port_range": "30000-30009"}
    async with serving(store, certificates, **settings) as one, serving(store, certificates, **settings) as other:
        await asyncio.sleep(0.2)
        made = await asyncio.gather(
            *(api.create(SERVICES, service(f"{name}{number}", type="NodePort"))
              for number in range(8) for name, api in (("a", one), ("b", other)))
        )  # fmt: skip
        given = [answer.body["spec"] for answer in made if answer.code == 201]
        assert len({spec["clusterIP"] for spec in given}) == len(given) == 10
        full = [answer.body["message"] for answer in made if answer.code != 201]
        assert set(full) == {"Internal error occurred: failed to allocate a nodePort: range is full"}


async def test_two_families_are_given_added_and_given_back(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, service_cidrs=DUAL) as api:
        spec = (await api.create(SERVICES, service("web", ipFamilyPolicy="RequireDualStack"))).body["spec"]
        assert spec["ipFamilies"] == ["IPv4", "IPv6"] and len(spec["clusterIPs"]) == 2
        single = (await api.patch(f"{SERVICES}/web", {"spec": {"ipFamilyPolicy": "SingleStack"}})).body["spec"]
        assert single["clusterIPs"] == spec["clusterIPs"][:1] and single["ipFamilies"] == ["IPv4"]
        assert (await api.get(f"{ADDRESSES}/{spec['clusterIPs'][1]}")).code == 404
        again = (await api.patch(f"{SERVICES}/web", {"spec": {"ipFamilyPolicy": "PreferDualStack"}})).body["spec"]
        assert len(again["clusterIPs"]) == 2


async def test_a_second_family_cannot_be_required_where_there_is_one(api: Api) -> None:
    refused = await api.create(SERVICES, service("web", ipFamilyPolicy="RequireDualStack"))
    assert problem(refused) == (
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
    )


async def test_a_new_range_is_used_as_soon_as_it_is_there(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, service_cidrs="10.96.0.0/30") as api:
        assert (await api.create(SERVICES, service("a"))).code == 201
        await asyncio.sleep(0.2)
        full = await api.create(SERVICES, service("b"))
        assert full.body["message"] == "Internal error occurred: failed to allocate a serviceIP: range is full"
        await api.create(CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}})
        assert (await api.create(SERVICES, service("b"))).body["spec"]["clusterIP"].startswith("10.97.0.")


async def test_the_default_range_and_the_servers_own_service_are_there(api: Api) -> None:
    found = (await api.get(f"{CIDRS}/kubernetes")).body
    assert found["spec"]["cidrs"] == ["10.96.0.0/12"]
    assert [(one["type"], one["status"]) for one in found["status"]["conditions"]] == [("Ready", "True")]
    for _ in range(200):
        own = await api.get(f"{SERVICES}/kubernetes")
        if own.code == 200:
            break
        await asyncio.sleep(0.01)
    assert own.body["spec"]["clusterIP"] == "10.96.0.1"
    assert own.body["spec"]["ports"][0]["name"] == "https" and own.body["spec"]["ports"][0]["port"] == 443


@pytest.mark.behaviour("API Server should provide secure master service")
@pytest.mark.behaviour("API Server should have Endpoints and EndpointSlices pointing to API Server")
async def test_the_servers_own_service_leads_to_the_server(certificates: Certificates) -> None:
    # On loopback alone no pod could reach it, and it would name nobody.
    async with serving(MemoryStore(), certificates, advertise_address="192.0.2.7") as api:
        await leads_to(api, "192.0.2.7")


async def leads_to(api: Api, address: str) -> None:
    own = await found(api, f"{SERVICES}/kubernetes")
    port = int(api.address.rpartition(":")[2])
    assert own["spec"]["ports"][0] == {"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}
    [subset] = (await found(api, "/api/v1/namespaces/default/endpoints/kubernetes"))["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == [address]
    assert subset["ports"] == [{"name": "https", "port": port, "protocol": "TCP"}]
    told = await found(api, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    assert [one["addresses"] for one in told["endpoints"]] == [[address]]
    assert told["ports"] == [{"name": "https", "port": port, "protocol": "TCP"}]
    assert told["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"


async def found(api: Api, path: str) -> dict[str, Any]:
    """An object that the server writes soon after its start."""
    for _ in range(500):
        answer = await api.get(path)
        if answer.code == 200:
            return answer.body  # type: ignore[no-any-return]
        await asyncio.sleep(0.01)
    raise AssertionError(f"there is no {path}")


async def test_what_a_crash_leaves_behind_is_found_at_the_second_look(api: Api) -> None:
    context = api.server._context
    spec = (await api.create(SERVICES, service("web", type="NodePort"))).body["spec"]
    served = context.served[next(one for one in context.served if one.plural == "services" and not one.group)]
    key = served.layout.key("default", "web")
    record = await context.store.get(key)
    assert record is not None
    await context.store.delete(key, expected=record.revision)
    suspects = await repair(context, set())
    assert spec["clusterIP"] in suspects
    assert (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).code == 200
    await repair(context, suspects)
    assert (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).code == 404
    number = spec["ports"][0]["nodePort"]
    assert (
        await api.create(SERVICES, service("b", type="NodePort", ports=[{"port": 1, "nodePort": number}]))
    ).code == 201


async def test_a_service_without_its_proof_gets_it_again(api: Api) -> None:
    spec = (await api.create(SERVICES, service("web"))).body["spec"]
    await api.delete(f"{ADDRESSES}/{spec['clusterIP']}")
    await repair(api.server._context, set())
    assert (await api.get(f"{ADDRESSES}/{spec['clusterIP']}")).code == 200


@pytest.mark.parametrize(("size", "kept"), [(8, 0), (14, 0), (254, 16), (4094, 255), (1048574, 256)])
def test_the_beginning_of_a_range_is_given_out_last(size: int, kept: int) -> None:
    assert ranges.kept_of(size) == kept


def test_every_address_of_a_range_is_offered_once() -> None:
    network = ipaddress.ip_network("10.0.0.0/24")
    offered = list(ranges.candidates(network))
    assert sorted(offered, key=ipaddress.ip_address) == [str(one) for one in network.hosts()]
    assert {int(one.rpartition(".")[2]) for one in offered[-16:]} == set(range(1, 17))


@pytest.mark.parametrize(
    ("spec", "available", "expected"),
    [
        ({"ipFamilies": ["IPv6"]}, ["IPv4"],
         'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}, ["IPv4", "IPv6"],
         'spec.ipFamilyPolicy: Invalid value: "SingleStack": must be \'RequireDualStack\' or \'PreferDualStack\' when '
         "multiple IP families are specified"),
        ({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}, ["IPv4"],
         'spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster'),
    ],
)  # fmt: skip
def test_families_that_cannot_be_had_are_refused(spec: dict[str, Any], available: list[str], expected: str) -> None:
    found = families.settle_families({"type": "ClusterIP", **spec}, None, available)
    assert [str(one) for one in found] == [expected]


@pytest.mark.behaviour("Services should complete a service status lifecycle")
async def test_a_load_balancer_may_leave_out_how_it_passes_packets_on(api: Api) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    await api.create(SERVICES, {"metadata": {"name": "balanced"}, "spec": spec})
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    done = await api.patch(f"{SERVICES}/balanced/status", status)
    assert done.code == 200, done.body
    found = (await api.get(f"{SERVICES}/balanced/status")).body["status"]
    assert found["loadBalancer"] == {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}


async def test_only_a_load_balancer_has_addresses_of_one(api: Api) -> None:
    await api.create(SERVICES, service("web", type="LoadBalancer"))
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    assert (await api.patch(f"{SERVICES}/web/status", status)).code == 200
    inner = await api.patch(f"{SERVICES}/web", {"spec": {"type": "NodePort"}})
    assert inner.body["status"]["loadBalancer"] == {}
    assert problem(await api.patch(f"{SERVICES}/web/status", status)) == (
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    )
