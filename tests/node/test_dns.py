"""The cluster's names, asked over real sockets' bytes: Kubernetes' DNS specification, and whatever anybody may send."""

from __future__ import annotations

import asyncio
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kontinuum.api.machinery.objects import Object
from kontinuum.node.dns.answers import LARGEST_DATAGRAM, PLAIN_DATAGRAM, Answerer, Ask
from kontinuum.node.dns.server import DnsServer
from kontinuum.node.dns.service import says, service, slices
from kontinuum.node.dns.upstream import Upstream, is_answer
from kontinuum.node.dns.zone import Zone
from kontinuum.node.settings import NodeSettings

SVC = "svc.cluster.local"


def a_service(name: str, *ips: str, ports: tuple[Object, ...] = (), **spec: Any) -> Object:
    told = {"clusterIP": ips[0] if ips else "None", "clusterIPs": list(ips) or ["None"], "ports": list(ports), **spec}
    return {"metadata": {"namespace": "ns", "name": name}, "spec": told}


def a_slice(name: str, *endpoints: Object, family: str = "IPv4", ports: tuple[Object, ...] = ()) -> Object:
    metadata = {"namespace": "ns", "name": name}
    return {"metadata": metadata, "addressType": family, "endpoints": list(endpoints), "ports": list(ports)}


def endpoint(ip: str, hostname: str = "", *, ready: bool = True) -> Object:
    return {"addresses": [ip], "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {})}


@pytest.fixture(scope="module")
def zone() -> Zone:
    zone = Zone("cluster.local", ["10.244.0.0/16", "10.96.0.0/12", "fd00::/16"])
    http = {"name": "http", "port": 80, "protocol": "TCP"}
    for name in ("ns", "bare"):
        zone.put_namespace(name)
    zone.put_service(a_service("web", "10.96.0.7", "fd00::7", ports=(http,)))
    zone.put_slice("ns", "web", a_slice("web-1", endpoint("10.244.0.7", "web-0"), endpoint("10.244.0.8")))
    zone.put_service(a_service("db", ports=(http,)))
    zone.put_slice("ns", "db", a_slice(
        "db-1", endpoint("10.244.0.5", "db-0"), endpoint("10.244.0.6"), endpoint("10.244.0.9", "db-9", ready=False),
        ports=({"name": "http", "port": 8080, "protocol": "TCP"},),
    ))  # fmt: skip
    zone.put_slice("ns", "db", a_slice("db-2", endpoint("fd00::5", "db-0"), family="IPv6"))
    zone.put_service(a_service("far", type="ExternalName", externalName="Far.Example.COM"))
    zone.put_service(a_service("near", type="ExternalName", externalName=f"web.ns.{SVC}"))
    zone.put_service(a_service("round", type="ExternalName", externalName=f"about.ns.{SVC}"))
    zone.put_service(a_service("about", type="ExternalName", externalName=f"round.ns.{SVC}"))
    zone.put_service(a_service("empty"))
    zone.put_service(a_service("large"))
    zone.put_slice("ns", "large", a_slice("large-1", *(endpoint(f"10.244.1.{number}") for number in range(250))))
    return zone


def ask(zone: Zone, name: str, kind: str, **query: Any) -> dns.message.Message:
    wire = dns.message.make_query(name, kind, **query).to_wire()
    said = Answerer(zone).answer(wire, is_datagram=True)
    assert isinstance(said, bytes)
    return dns.message.from_wire(said)


def found(zone: Zone, name: str, kind: str) -> set[str]:
    answer = ask(zone, name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    return {rdata.to_text() for rrset in answer.answer for rdata in rrset}


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        (f"web.ns.{SVC}", "A", {"10.96.0.7"}),
        (f"WEB.ns.{SVC}", "AAAA", {"fd00::7"}),
        (f"_http._tcp.web.ns.{SVC}", "SRV", {f"0 100 80 web.ns.{SVC}."}),
        (f"web.ns.{SVC}", "SRV", {f"0 100 80 web.ns.{SVC}."}),
        (f"db.ns.{SVC}", "A", {"10.244.0.5", "10.244.0.6"}),
        (f"db.ns.{SVC}", "AAAA", {"fd00::5"}),
        (f"db-0.db.ns.{SVC}", "A", {"10.244.0.5"}),
        (f"10-244-0-6.db.ns.{SVC}", "A", {"10.244.0.6"}),
        (f"_http._tcp.db.ns.{SVC}", "SRV", {f"0 50 8080 db-0.db.ns.{SVC}.", f"0 50 8080 10-244-0-6.db.ns.{SVC}."}),
        (f"web-0.web.ns.{SVC}", "A", {"10.244.0.7"}),
        (f"near.ns.{SVC}", "A", {f"web.ns.{SVC}.", "10.96.0.7"}),
        (f"far.ns.{SVC}", "CNAME", {"far.example.com."}),
        ("7.0.96.10.in-addr.arpa", "PTR", {f"web.ns.{SVC}."}),
        ("5.0.244.10.in-addr.arpa", "PTR", {f"db-0.db.ns.{SVC}."}),
        ("6.0.244.10.in-addr.arpa", "PTR", {f"10-244-0-6.db.ns.{SVC}."}),
        ("7.0.244.10.in-addr.arpa", "PTR", {f"web-0.web.ns.{SVC}."}),
        ("8.0.244.10.in-addr.arpa", "PTR", {f"10-244-0-8.web.ns.{SVC}."}),
        (f"{'.'.join('7' + '0' * 27)}.0.0.d.f.ip6.arpa", "PTR", {f"web.ns.{SVC}."}),
        ("10-244-0-5.ns.pod.cluster.local", "A", {"10.244.0.5"}),
        ("10-244-0-5.bare.pod.cluster.local", "A", {"10.244.0.5"}),
        ("fd00--5.ns.pod.cluster.local", "AAAA", {"fd00::5"}),
        ("dns-version.cluster.local", "TXT", {'"1.1.0"'}),
    ],
)
def test_names_mean_what_the_specification_says(zone: Zone, name: str, kind: str, says: set[str]) -> None:
    assert found(zone, name, kind) == says


@pytest.mark.parametrize(
    "name",
    [
        f"web.other.{SVC}", f"no.ns.{SVC}", f"other.{SVC}", f"db-9.db.ns.{SVC}", f"_no._tcp.web.ns.{SVC}",
        f"x.web.ns.{SVC}", f"empty.ns.{SVC}", "other.pod.cluster.local", "10-244-0-5.other.pod.cluster.local",
        "no-address.ns.pod.cluster.local", "cluster.cluster.local", "8.0.96.10.in-addr.arpa", f"a.b.c.d.ns.{SVC}",
    ],
)  # fmt: skip
def test_what_is_not_there_does_not_exist_and_nobody_else_is_asked(zone: Zone, name: str) -> None:
    answer = ask(zone, name, "A")
    assert answer.rcode() == dns.rcode.NXDOMAIN and not answer.answer
    assert [one.rdtype for one in answer.authority] == [dns.rdatatype.SOA]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"web.ns.{SVC}", "MX"), (f"db-0.db.ns.{SVC}", "TXT"), (f"ns.{SVC}", "A"), (SVC, "A"),
        (f"bare.{SVC}", "A"), ("bare.pod.cluster.local", "A"),
        (f"_tcp.web.ns.{SVC}", "A"), (f"10-244-0-6.db.ns.{SVC}", "AAAA"), ("7.0.96.10.in-addr.arpa", "A"),
    ],
)  # fmt: skip
def test_what_is_there_with_other_types_only_is_no_error(zone: Zone, name: str, kind: str) -> None:
    answer = ask(zone, name, kind)
    assert answer.rcode() == dns.rcode.NOERROR and not answer.answer and answer.authority


def test_names_that_lead_in_a_circle_are_given_up(zone: Zone) -> None:
    assert ask(zone, f"round.ns.{SVC}", "A").rcode() == dns.rcode.SERVFAIL


def test_an_answer_that_does_not_fit_says_so_and_comes_whole_by_tcp(zone: Zone) -> None:
    plain = dns.message.make_query(f"large.ns.{SVC}", "A").to_wire()
    wide = dns.message.make_query(f"large.ns.{SVC}", "A", use_edns=0, payload=65000).to_wire()
    for query, room, told in ((plain, PLAIN_DATAGRAM, 29), (wide, LARGEST_DATAGRAM, 73)):
        said = Answerer(zone).answer(query, is_datagram=True)
        assert isinstance(said, bytes) and len(said) <= room
        answer = dns.message.from_wire(said)
        assert answer.flags & dns.flags.TC
        # As many as fit, each of 16 bytes, for who cannot come by TCP.
        assert len(answer.answer[0]) == told
    whole = Answerer(zone).answer(plain, is_datagram=False)
    assert isinstance(whole, bytes)
    answer = dns.message.from_wire(whole)
    assert not answer.flags & dns.flags.TC and len(answer.answer[0]) == 250


def test_only_names_of_others_are_asked_of_others(zone: Zone) -> None:
    query = dns.message.make_query("deb.example.org", "A").to_wire()
    asked = Answerer(zone).answer(query, is_datagram=True)
    assert isinstance(asked, Ask) and asked.query == query
    assert dns.message.from_wire(asked.finish(None)).rcode() == dns.rcode.SERVFAIL


def test_an_alias_is_followed_to_where_others_know(zone: Zone) -> None:
    query = dns.message.make_query(f"far.ns.{SVC}", "A")
    asked = Answerer(zone).answer(query.to_wire(), is_datagram=True)
    assert isinstance(asked, Ask)
    theirs = dns.message.make_response(dns.message.from_wire(asked.query))
    theirs.answer.append(dns.rrset.from_text("far.example.com.", 60, "IN", "A", "203.0.113.4"))
    answer = dns.message.from_wire(asked.finish(theirs.to_wire()))
    assert [rrset.to_text() for rrset in answer.answer] == [
        f"far.ns.{SVC}. 5 IN CNAME far.example.com.", "far.example.com. 60 IN A 203.0.113.4",
    ]  # fmt: skip
    assert answer.id == query.id


def test_what_has_been_taken_back_is_forgotten_without_a_trace() -> None:
    zone = Zone("cluster.local", [])
    zone.put_service(a_service("web", "10.96.0.7"))
    zone.put_service(a_service("web", "10.96.0.8"))
    zone.put_slice("ns", "web", a_slice("web-1", endpoint("10.244.0.5")))
    zone.put_slice("ns", "web", a_slice("web-1", endpoint("10.244.0.6")))
    assert found(zone, f"web.ns.{SVC}", "A") == {"10.96.0.8"}
    zone.remove_service("ns", "web")
    zone.remove_slice("ns", "web", "web-1")
    assert (zone._entries, zone._owners) == ({}, {})


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_whatever_is_sent_is_answered_in_order_or_not_at_all(zone: Zone, wire: bytes, is_datagram: bool) -> None:
    check_any(zone, wire, is_datagram=is_datagram)


@settings(max_examples=300)
@given(st.data())
def test_damaged_questions_harm_nobody(zone: Zone, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([f"_http._tcp.db.ns.{SVC}", f"near.ns.{SVC}", f"large.ns.{SVC}"]))
    wire = bytearray(dns.message.make_query(name, "SRV", use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    check_any(zone, bytes(wire[: data.draw(st.integers(0, len(wire)))]), is_datagram=data.draw(st.booleans()))


def check_any(zone: Zone, wire: bytes, *, is_datagram: bool) -> None:
    said = Answerer(zone).answer(wire, is_datagram=is_datagram)
    if isinstance(said, Ask):
        said = said.finish(None)
    if said is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    assert said[:2] == wire[:2] and said[2] & 0x80
    assert not is_datagram or len(said) <= LARGEST_DATAGRAM
    dns.message.from_wire(said)


@settings(max_examples=200)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_only_the_answer_to_our_question_is_one(said: bytes, rest: bytes) -> None:
    query = dns.message.make_query("deb.example.org", "A").to_wire()
    assert not is_answer(said, query) or (said[:2] == query[:2] and bool(said[2] & 0x80))
    answer = query[:2] + b"\x80\0" + query[4:]
    assert is_answer(answer + rest, query)
    other = dns.message.make_query("evil.example.org", "A", id=int.from_bytes(query[:2])).to_wire()
    assert not is_answer(query[:2] + b"\x80\0" + other[4:], query)


class Somebody(asyncio.DatagramProtocol):
    """Another server: its first answers are to questions that nobody asked."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, sender: Any) -> None:
        response = dns.message.make_response(dns.message.from_wire(data))
        response.answer.append(dns.rrset.from_text("deb.example.org.", 60, "IN", "A", "203.0.113.4"))
        forged = bytearray(response.to_wire())
        forged[0] ^= 1
        self.transport.sendto(bytes(forged), sender)
        self.transport.sendto(response.to_wire(), sender)


async def test_questions_are_answered_on_both_transports_and_passed_on(zone: Zone) -> None:
    loop = asyncio.get_running_loop()
    other, _ = await loop.create_datagram_endpoint(Somebody, local_addr=("127.0.0.1", 0))
    # The first one does not answer: nobody listens there.
    upstream = Upstream(lambda: ["127.0.0.2", "127.0.0.1"], port=other.get_extra_info("sockname")[1])
    server = DnsServer(Answerer(zone), upstream)
    port = await server.start(["127.0.0.1"], 0)
    try:
        for name, ip in ((f"web.ns.{SVC}", "10.96.0.7"), ("deb.example.org", "203.0.113.4")):
            query = dns.message.make_query(name, "A").to_wire()
            by_datagram = await Upstream(lambda: ["127.0.0.1"], port=port).ask(query, is_datagram=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(len(query).to_bytes(2) + query)
            by_stream = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            writer.close()
            for said in (by_datagram, by_stream):
                assert said is not None
                assert dns.message.from_wire(said).answer[0][0].to_text() == ip
    finally:
        await server.stop()
        other.close()


def test_the_service_is_where_pods_look_for_it_and_each_node_prefers_itself() -> None:
    both = NodeSettings(pod_cidr="10.244.3.0/24,fd00:3::/64", cluster_dns=("10.96.0.10", "fd01::a"))
    made = service(both)
    assert made["spec"]["clusterIPs"] == ["10.96.0.10", "fd01::a"]
    assert made["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    node = {"metadata": {"name": "one", "uid": "u"}}
    four, six = slices(both, node, 53)
    assert (four["endpoints"][0]["addresses"], six["endpoints"][0]["addresses"]) == (["10.244.3.2"], ["fd00:3::2"])
    assert four["endpoints"][0]["hints"] == {"forNodes": [{"name": "one"}]}
    assert says({**four, "more": 1}, four) and not says({**four, "ports": []}, four)
