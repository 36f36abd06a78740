"""A question's bytes to an answer's bytes, as far as the cluster's own names go. Pure but for the order of addresses.

The wire format is dnspython's business: it has been fuzzed for years, and what it refuses is answered with FORMERR.
"""

from __future__ import annotations

import bisect
import copy
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from kontinuum.node.dns.zone import Absent, Address, Alias, Elsewhere, Found, Labels, Location, Pointer, Record, Zone

TTL = 5
"""Seconds. CoreDNS' default: Services come and go."""
LARGEST_DATAGRAM = 1232
"""Bytes that are never fragmented on the way (DNS flag day 2020), whatever a client says that it takes."""
PLAIN_DATAGRAM = 512
"""Bytes that a client without EDNS takes (RFC 1035)."""
HEADER = 12
TRUNCATED = 0x02
"""In the third byte of the header."""
WHOLE_WEIGHT = 100
"""What the SRV records of one answer share, each at least 1 (as in CoreDNS; the specification leaves it open)."""
LONGEST_CHAIN = 8
"""Names that are followed from alias to alias."""
IN = dns.rdataclass.IN
Answered = tuple[dns.rrset.RRset, dns.rdata.Rdata]
"""One record, and the set that it is of."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody else must be asked: for all of the question, or only where an alias of ours leads to.

    ``finish`` makes the answer out of what they say; None means that nobody has answered.
    """

    query: bytes
    finish: Callable[[bytes | None], bytes]


class Answerer:
    """Answers for ``zone``."""

    def __init__(self, zone: Zone, *, shuffle: Callable[[list[Record]], None] = random.shuffle) -> None:
        self._zone = zone
        self._shuffle = shuffle
        self._apex = _name(zone.domain)

    def answer(self, wire: bytes, *, is_datagram: bool) -> bytes | Ask | None:
        """The answer, whom else to ask, or None for what does not deserve one (an answer itself, or no header)."""
        if len(wire) < HEADER or wire[2] & 0x80:
            return None
        try:
            query = dns.message.from_wire(wire, ignore_trailing=True)
        except dns.message.UnknownTSIGKey:
            return _refusal(wire, dns.rcode.NOTAUTH)
        except (dns.exception.DNSException, ValueError, NotImplementedError):
            return _refusal(wire, dns.rcode.FORMERR)
        if query.opcode() != dns.opcode.QUERY:
            return _refusal(wire, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return _refusal(wire, dns.rcode.FORMERR)
        size = _room(query, is_datagram)
        if query.edns > 0:
            return _written(_response(query, dns.rcode.BADVERS), size)
        [question] = query.question
        if question.rdclass != IN:
            return _written(_response(query, dns.rcode.REFUSED), size)
        return self._resolve(query, question.name, question.rdtype, size, wire)

    def _resolve(
        self, query: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType, size: int, wire: bytes
    ) -> bytes | Ask:
        response = _response(query, dns.rcode.NOERROR)
        response.flags |= dns.flags.AA
        text = dns.rdatatype.to_text(kind)
        for step in range(LONGEST_CHAIN):
            labels = _labels(name)
            match self._zone.answer(labels, text):
                case Found(records=()) if labels == self._zone.domain and kind == dns.rdatatype.SOA:
                    response.answer.append(self._authority())
                case Found(records=found, additional=additional):
                    records = list(found)
                    self._shuffle(records)
                    # The spelling of the question is kept: some clients check that it comes back.
                    response.answer += _rrsets(records, {labels: name})
                    response.additional += _rrsets(additional, {})
                    if not records:
                        response.authority.append(self._authority())
                case Alias(target=leads_to):
                    target = _name(leads_to)
                    response.answer.append(dns.rrset.from_rdata(name, TTL, CNAME(IN, dns.rdatatype.CNAME, target)))
                    if kind != dns.rdatatype.CNAME:
                        name = target
                        continue
                case Absent():
                    response.set_rcode(dns.rcode.NXDOMAIN)
                    response.authority.append(self._authority())
                case Elsewhere() if step == 0:
                    return Ask(wire, lambda said: said or _refusal(wire, dns.rcode.SERVFAIL))
                case Elsewhere():
                    return Ask(_question(name, kind), lambda said: _finished(response, said, size))
            return _written(response, size)
        return _refusal(wire, dns.rcode.SERVFAIL)

    def _authority(self) -> dns.rrset.RRset:
        """Says for how long "there is no such thing" may be remembered (RFC 2308)."""
        server = dns.name.Name((b"ns", b"dns", *self._apex.labels))
        person = dns.name.Name((b"hostmaster", *self._apex.labels))
        start = SOA(IN, dns.rdatatype.SOA, server, person, 1, 7200, 1800, 86400, TTL)
        return dns.rrset.from_rdata(self._apex, TTL, start)


def _response(query: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST_DATAGRAM)
    response.set_rcode(code)
    return response


def _room(query: dns.message.Message, is_datagram: bool) -> int:
    if not is_datagram:
        return 65535
    return min(LARGEST_DATAGRAM, max(PLAIN_DATAGRAM, query.payload)) if query.edns >= 0 else PLAIN_DATAGRAM


def _written(response: dns.message.Message, size: int) -> bytes:
    """What only spares further questions is left out first. Of answers as many are said as fit, and the client is told
    to come back by TCP: resolvers that cannot (musl's before 1.2.4) live with those."""
    wire = response.to_wire(max_size=size, prefer_truncation=True)
    if not wire[2] & TRUNCATED:
        return wire
    records = [(rrset, rdata) for rrset in response.answer for rdata in rrset]
    fitting = bisect.bisect_left(
        range(1, len(records)), True, key=lambda count: _shortened(response, records[:count], size) is None
    )
    return _shortened(response, records[:fitting], size) or wire


def _shortened(response: dns.message.Message, records: Sequence[Answered], size: int) -> bytes | None:
    """``response`` with no other records than these, and said to be incomplete; None if not even they fit."""
    shorter = copy.copy(response)
    shorter.flags |= dns.flags.TC
    answer: list[dns.rrset.RRset] = []
    for rrset, rdata in records:
        if not answer or (answer[-1].name, answer[-1].rdtype) != (rrset.name, rrset.rdtype):
            answer.append(dns.rrset.RRset(rrset.name, rrset.rdclass, rrset.rdtype))
        answer[-1].add(rdata, rrset.ttl)
    shorter.sections = [response.question, answer, [], []]
    try:
        return shorter.to_wire(max_size=size)
    except dns.exception.TooBig:
        return None


def _refusal(wire: bytes, code: dns.rcode.Rcode) -> bytes:
    """An answer to a question that could not be read: its header alone (RFC 1035, 4.1.1)."""
    flags = 0x8080 | ((wire[2] << 8) & 0x7900)
    return wire[:2] + (flags | int(code)).to_bytes(2) + bytes(8)


def _question(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> bytes:
    return dns.message.make_query(name, kind, use_edns=0, payload=LARGEST_DATAGRAM).to_wire()


def _finished(response: dns.message.Message, said: bytes | None, size: int) -> bytes:
    """Our alias, followed by what others say about where it leads."""
    response.flags &= ~dns.flags.AA
    try:
        theirs = dns.message.from_wire(said, ignore_trailing=True) if said else None
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        theirs = None
    if theirs is None:
        response.set_rcode(dns.rcode.SERVFAIL)
    else:
        response.set_rcode(theirs.rcode())
        response.answer += theirs.answer
        response.authority += theirs.authority
    return _written(response, size)


def _labels(name: dns.name.Name) -> Labels:
    return tuple(label.decode("latin-1").lower() for label in name.labels if label)


def _name(labels: Sequence[str]) -> dns.name.Name:
    return dns.name.Name((*(label.encode("latin-1") for label in labels), b""))


def _rrsets(records: Iterable[Record], spellings: dict[Labels, dns.name.Name]) -> list[dns.rrset.RRset]:
    """Records of the same name and type belong together."""
    found: dict[tuple[Labels, str], dns.rrset.RRset] = {}
    every = list(records)
    share = max(1, WHOLE_WEIGHT // max(1, sum(isinstance(one, Location) for one in every)))
    for record in every:
        rdata, key = _rdata(record, share), (record.name, record.type)
        if key in found:
            found[key].add(rdata)
        else:
            found[key] = dns.rrset.from_rdata(spellings.get(record.name) or _name(record.name), TTL, rdata)
    return list(found.values())


def _rdata(record: Record, weight: int) -> A | AAAA | SRV | PTR | TXT:
    """``weight`` is for an SRV record."""
    match record:
        case Address(ip=ip) if ":" in ip:
            return AAAA(IN, dns.rdatatype.AAAA, ip)
        case Address(ip=ip):
            return A(IN, dns.rdatatype.A, ip)
        case Location():
            return SRV(IN, dns.rdatatype.SRV, 0, weight, record.port, _name(record.target))
        case Pointer():
            return PTR(IN, dns.rdatatype.PTR, _name(record.target))
        case _:
            return TXT(IN, dns.rdatatype.TXT, [record.text.encode()])
