"""Kubernetes' IP and CIDR libraries. IPv4 in IPv6, zones and leading zeros are refused, as there."""

from __future__ import annotations

import ipaddress
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import Opaque

IP, CIDR = t.opaque("net.IP"), t.opaque("net.CIDR")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface
LONGEST = 64


class Ip(Opaque):
    """One address."""

    __slots__ = ("address",)
    type_name = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def equals(self, other: Any) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __str__(self) -> str:
        return str(self.address)


class Cidr(Opaque):
    """An address with the length of its network's prefix."""

    __slots__ = ("interface",)
    type_name = "net.CIDR"

    def __init__(self, interface: Network) -> None:
        self.interface = interface

    def equals(self, other: Any) -> bool:
        return isinstance(other, Cidr) and self.interface == other.interface

    def __str__(self) -> str:
        return str(self.interface)


def _ip(text: str) -> Ip:
    short = text[:LONGEST]
    if "%" in short:
        raise EvaluationError(f"IP address {text[:LONGEST]!r} with zone value is not allowed")
    try:
        address = ipaddress.ip_address(text if len(text) <= LONGEST else "")
    except ValueError:
        raise EvaluationError(f"IP Address {short!r} parse error during conversion from string") from None
    if address.version == 6 and address.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {short!r} is not allowed")
    return Ip(address)


def _cidr(text: str) -> Cidr:
    address, slash, length = text[:LONGEST].partition("/")
    problem = EvaluationError(f"network address parse error during conversion from string: {text[:LONGEST]!r}")
    if not slash or not length.isascii() or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
        raise problem
    try:
        return Cidr(ipaddress.ip_interface(f"{_ip(address)}/{length}"))
    except ValueError:
        raise problem from None


def _is(parse: Any) -> Any:
    def answers(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return answers


def _contains_ip(cidr: Cidr, ip: Ip) -> bool:
    network = cidr.interface.network
    return network.version == ip.address.version and ip.address in network


def _contains_cidr(cidr: Cidr, other: Cidr) -> bool:
    network, within = cidr.interface.network, other.interface.network
    same = network.version == within.version
    return same and network.prefixlen <= within.prefixlen and other.interface.ip in network


def _masked(cidr: Cidr) -> Cidr:
    return Cidr(ipaddress.ip_interface(str(cidr.interface.network)))


S = t.STRING
OVERLOADS = (
    function("ip", "string_to_ip", (S,), IP, _ip, charges.of_first),
    function("isIP", "is_ip", (S,), t.BOOL, _is(_ip), charges.of_first),
    function("ip.isCanonical", "ip_is_canonical", (S,), t.BOOL, lambda a: str(_ip(a)) == a, charges.of_first_twice),
    function("string", "ip_to_string", (IP,), S, str),
    member("family", "family", (IP,), t.INT, lambda a: a.address.version),
    member("isUnspecified", "is_unspecified", (IP,), t.BOOL, lambda a: a.address.is_unspecified),
    member("isLoopback", "is_loopback", (IP,), t.BOOL, lambda a: a.address.is_loopback),
    member("isLinkLocalMulticast", "is_link_local_multicast", (IP,), t.BOOL, lambda a: _is_local_multicast(a)),
    member("isLinkLocalUnicast", "is_link_local_unicast", (IP,), t.BOOL, lambda a: a.address.is_link_local),
    member("isGlobalUnicast", "is_global_unicast", (IP,), t.BOOL, lambda a: _is_global_unicast(a)),
    function("cidr", "string_to_cidr", (S,), CIDR, _cidr, charges.of_first),
    function("isCIDR", "is_cidr", (S,), t.BOOL, _is(_cidr), charges.of_first),
    function("string", "cidr_to_string", (CIDR,), S, str),
    member("containsIP", "cidr_contains_ip_string", (CIDR, S), t.BOOL, lambda a, b: _contains_ip(a, _ip(b)), 3),
    member("containsIP", "cidr_contains_ip", (CIDR, IP), t.BOOL, _contains_ip, 2),
    member("containsCIDR", "cidr_contains_cidr_string", (CIDR, S), t.BOOL, lambda a, b: _contains_cidr(a, _cidr(b)), 5),
    member("containsCIDR", "cidr_contains_cidr", (CIDR, CIDR), t.BOOL, _contains_cidr, 4),
    member("ip", "cidr_ip", (CIDR,), IP, lambda a: Ip(a.interface.ip)),
    member("prefixLength", "cidr_prefix_length", (CIDR,), t.INT, lambda a: a.interface.network.prefixlen),
    member("masked", "cidr_masked", (CIDR,), CIDR, _masked),
)


def _is_local_multicast(ip: Ip) -> bool:
    local = "224.0.0.0/24" if ip.address.version == 4 else "ff02::/16"
    return ip.address in ipaddress.ip_network(local)


def _is_global_unicast(ip: Ip) -> bool:
    """Go's meaning: whatever is none of the special ones, private addresses included."""
    address = ip.address
    is_broadcast = address.version == 4 and str(address) == "255.255.255.255"
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and not is_broadcast
