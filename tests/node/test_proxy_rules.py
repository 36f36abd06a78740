"""What one Service contributes to the packet filter, and which UDP connections its change makes stale."""

from __future__ import annotations

from typing import Any

from tests.node.nft import Table
from tests.node.test_proxy_endpoints import slice_of, told

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.conntrack import UDP, Flow, original_tuple, parse_flow
from kontinuum.node.proxy.endpoints import Place
from kontinuum.node.proxy.rules import Networks, frame, service_fragment
from kontinuum.node.proxy.stale import stale, udp_ports
from kontinuum.node.ruleset import NOTHING, Fragment, Ruleset

NETWORKS = Networks(("10.244.0.0/24", "fd00:1::/64"), ("10.244.0.0/16", "fd00::/16"), ("10.96.0.0/12", "fd01::/108"))
HERE = Place("here")


def service(*, status: Object | None = None, ports: list[Object] | None = None, **spec: Any) -> Object:
    given = ports or [{"port": 80, "protocol": "TCP"}]
    whole = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": given, **spec}
    return {"metadata": {"namespace": "ns", "name": "web"}, "spec": whole, "status": status or {}}


def fragment(one: Object, *slices: Object, before: Fragment = NOTHING) -> Fragment:
    made = service_fragment(one, slices, HERE, NETWORKS, before)
    ruleset, kernel = Ruleset("inet t", frame(NETWORKS)), Table()
    kernel.apply(ruleset.whole())
    ruleset.put("web", made)
    kernel.apply(ruleset.take_transaction())  # What is referred to exists.
    return made


def test_a_cluster_address_leads_to_one_of_the_endpoints() -> None:
    made = fragment(service(), slice_of(told("10.244.0.5"), told("10.244.1.6"), port=8080))
    assert made.shared["frontends4"] == {"10.96.0.7 . tcp . 80": "goto cluster/4/ns/web/tcp"}
    assert set(made.sets["endpoints-cluster/4/ns/web/tcp"].elements.values()) == {
        "10.244.0.5 . 8080",
        "10.244.1.6 . 8080",
    }
    [rule] = made.chains["cluster/4/ns/web/tcp"]
    assert "numgen random mod 2 map" in rule


def test_a_pod_of_this_node_reaches_itself_by_its_service_whatever_slices_say_of_nodes() -> None:
    made = fragment(service(), slice_of(told("10.244.0.5"), told("10.244.1.6")))
    assert made.shared["hairpins4"] == {"10.244.0.5 . 10.244.0.5": ""}


def test_headless_services_and_other_names_have_no_rules() -> None:
    for one in (service(clusterIP="None", clusterIPs=["None"]), service(type="ExternalName", clusterIP="")):
        assert fragment(one, slice_of(told("10.244.0.5"))) == NOTHING


def test_without_endpoints_connections_are_refused_and_not_left_to_wait() -> None:
    made = fragment(service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    assert made.shared["refused4"] == {"10.96.0.7 . tcp . 80": "goto refuse"}
    assert made.shared["refused-ports4"] == {"tcp . 30080": "goto refuse"}
    chains = frame(NETWORKS).chains
    assert chains["refuse"] == ("meta l4proto tcp reject with tcp reset", "reject")
    # As are ports that the Service does not have, and addresses that no Service has.
    for name in ("unserved-forward", "unserved-output"):
        assert "ip daddr 10.96.0.0/12 goto refuse" in chains[name]


def test_what_must_stay_on_the_node_is_dropped_where_no_endpoint_is() -> None:
    made = fragment(service(internalTrafficPolicy="Local"), slice_of(told("10.244.1.6", node="there")))
    assert made.shared["refused4"] == {"10.96.0.7 . tcp . 80": "drop"}
    made = fragment(service(internalTrafficPolicy="Local"), slice_of(told("10.244.0.5", node="here")))
    assert made.shared["frontends4"] == {"10.96.0.7 . tcp . 80": "goto local/4/ns/web/tcp"}


def test_outsiders_keep_their_address_only_where_the_policy_is_local() -> None:
    outside = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
    ours = slice_of(told("10.244.0.5", node="here"), told("10.244.1.6", node="there"))
    anywhere = fragment(service(**outside), ours)
    assert anywhere.chains["external/4/ns/web/tcp"] == (
        "meta mark set meta mark or 0x00004000", "goto cluster/4/ns/web/tcp",
    )  # fmt: skip
    here = fragment(service(**outside, externalTrafficPolicy="Local"), ours)
    assert here.chains["external/4/ns/web/tcp"][-1] == "goto local/4/ns/web/tcp"
    assert here.chains["external/4/ns/web/tcp"][0] == "ip saddr 10.244.0.0/16 goto cluster/4/ns/web/tcp"
    assert list(here.sets["endpoints-local/4/ns/web/tcp"].elements.values()) == ["10.244.0.5 . 80"]


def test_a_balancers_addresses_come_from_the_status_and_admit_whom_the_spec_says() -> None:
    balanced = service(
        type="LoadBalancer", loadBalancerSourceRanges=["198.51.100.0/24"], externalIPs=["203.0.113.9"],
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"ip": "203.0.113.6", "ipMode": "Proxy"}]}},
    )  # fmt: skip
    made = fragment(balanced, slice_of(told("10.244.0.5")))
    assert set(made.shared["frontends4"]) == {f"{ip} . tcp . 80" for ip in ("10.96.0.7", "203.0.113.5", "203.0.113.9")}
    assert made.shared["guarded4"] == {"203.0.113.5 . tcp . 80": "jump guard/4/ns/web/tcp"}
    assert made.chains["guard/4/ns/web/tcp"] == ("ip saddr 198.51.100.0/24 return", "drop")


def test_clients_are_remembered_for_as_long_as_the_service_says() -> None:
    config = {"clientIP": {"timeoutSeconds": 77}}
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "UDP"}]
    sticky = service(sessionAffinity="ClientIP", sessionAffinityConfig=config, ports=ports)
    made = fragment(
        sticky, slice_of(told("10.244.0.5"), name="a"), slice_of(told("10.244.0.5"), name="b", protocol="UDP")
    )
    assert "dnat ip to ip saddr map @clients-cluster/4/ns/web/tcp/a" in made.chains["cluster/4/ns/web/tcp/a"][0]
    assert made.shared["learn4"] == {
        "tcp . 10.96.0.7": "goto learn/4/ns/web/tcp", "udp . 10.96.0.7": "goto learn/4/ns/web/udp",
    }  # fmt: skip
    [rule] = made.chains["learn/4/ns/web/tcp"]
    assert "ct original proto-dst 80 update @clients-cluster/4/ns/web/tcp/a { ip saddr timeout 77s" in rule


def test_both_families_are_served() -> None:
    both = service(clusterIPs=["10.96.0.7", "fd01::7"])
    made = fragment(both, slice_of(told("10.244.0.5")), slice_of(told("fd00:1::5"), family="IPv6"))
    assert made.shared["frontends6"] == {"fd01::7 . tcp . 80": "goto cluster/6/ns/web/tcp"}
    assert "dnat ip6 to" in made.chains["cluster/6/ns/web/tcp"][0]


def test_the_change_of_one_endpoint_is_the_change_of_one_element() -> None:
    def of(last: int) -> Object:
        return slice_of(*(told(f"10.244.{number >> 8}.{number & 255}") for number in (*range(999), last)))

    ruleset = Ruleset("inet t", frame(NETWORKS))
    first = fragment(service(), of(1500))
    ruleset.put("web", first)
    ruleset.take_transaction()
    ruleset.put("web", fragment(service(), of(1600), before=first))
    lines = ruleset.take_transaction().splitlines()
    assert [line.split(" {")[0] for line in lines] == [
        "delete element inet t endpoints-cluster/4/ns/web/tcp", "add element inet t endpoints-cluster/4/ns/web/tcp",
    ]  # fmt: skip


def flow(destination: str, port: int, answers: str, answering_port: int) -> Flow:
    return Flow(UDP, "10.244.0.9", 4000, destination, port, answers, answering_port)


def test_connections_to_endpoints_that_have_gone_are_stale_and_no_others() -> None:
    dns = service(type="NodePort", ports=[{"port": 53, "protocol": "UDP", "nodePort": 30053}])
    ports = udp_ports(dns, [slice_of(told("10.244.0.5"), port=53, protocol="UDP")])
    good = flow("10.96.0.7", 53, "10.244.0.5", 53)
    gone, early = flow("10.96.0.7", 53, "10.244.0.4", 53), flow("10.96.0.7", 53, "10.96.0.7", 53)
    by_port, other = flow("192.0.2.1", 30053, "10.244.0.4", 53), flow("10.96.0.8", 53, "10.244.0.4", 53)
    assert stale([good, gone, early, by_port, other], ports) == [gone, early, by_port]


def test_who_talks_goes_on_with_an_endpoint_that_serves_though_nobody_new_would_be_led_there() -> None:
    dns = service(internalTrafficPolicy="Local", ports=[{"port": 53, "protocol": "UDP"}])
    ready, far = told("10.244.0.5", node="here"), told("10.244.1.6", node="there")
    leaving = told("10.244.0.7", node="here", ready=False, serving=True, terminating=True)
    ended = told("10.244.0.8", node="here", ready=False, serving=False, terminating=True)
    slices = [slice_of(ready, far, leaving, ended, port=53, protocol="UDP")]
    flows = {last: flow("10.96.0.7", 53, f"10.244.{last}", 53) for last in ("0.5", "1.6", "0.7", "0.8")}
    assert stale(flows.values(), udp_ports(dns, slices)) == [flows["0.8"]]


def test_while_nobody_serves_a_port_only_what_led_to_who_is_gone_is_stale() -> None:
    dns = service(ports=[{"port": 53, "protocol": "UDP"}])
    waiting, gone = flow("10.96.0.7", 53, "10.96.0.7", 53), flow("10.96.0.7", 53, "10.244.0.4", 53)
    assert stale([waiting, gone], udp_ports(dns, [])) == [gone]
    unready = slice_of(told("10.244.0.4", ready=False), port=53, protocol="UDP")
    assert stale([gone], udp_ports(dns, [unready])) == []


def test_a_connection_is_named_to_the_kernel_as_the_kernel_names_it() -> None:
    for one in (flow("10.96.0.7", 53, "10.96.0.7", 53), Flow(UDP, "fd00::9", 9, "fd01::7", 53, "fd01::7", 53)):
        back = Flow(UDP, one.destination, one.destination_port, one.source, one.source_port, "", 0)
        # The other direction, told as the kernel tells it: CTA_TUPLE_REPLY in place of CTA_TUPLE_ORIG.
        reply = bytearray(original_tuple(back))
        reply[2] = 2
        assert parse_flow(bytes(4) + original_tuple(one) + bytes(reply)) == one
