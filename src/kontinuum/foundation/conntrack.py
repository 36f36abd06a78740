"""Connections that the kernel tracks, as far as stale ones must be found and forgotten (ctnetlink).

A UDP "connection" lives for as long as its client keeps sending, so one that leads to a place which is gone would be
followed for ever: somebody has to take it out of the kernel's table. Layouts: <linux/netfilter/nfnetlink.h>,
<linux/netfilter/nfnetlink_conntrack.h>.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kontinuum.foundation.errors import Retryable

UDP = 17
_NETLINK_NETFILTER = 12
_CONNTRACK, _GET, _DELETE = 1 << 8, 1, 2
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_NESTED = 0x8000
_ORIGINAL, _REPLY = 1, 2
_IP, _PROTOCOL = 1, 2
_SOURCES = {4: (1, 2), 6: (3, 4)}
"""``CTA_IP_V4_SRC``, ``CTA_IP_V4_DST`` and those of version 6."""
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_MESSAGE, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct(">BBH"), struct.Struct("=HH")
_BUFFER = 1 << 18


class ConntrackFailed(Retryable):
    """The kernel refused to list or to forget connections."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection. ``reply_source`` is who really answers: after a translation not ``destination``."""

    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    reply_source: str
    reply_port: int


class Conntrack:
    """Lists and forgets connections of the network namespace in which the object is made. Calls block shortly."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def flows(self, protocol: int) -> list[Flow]:
        """Every connection of ``protocol``, both families. Raises ConntrackFailed."""
        found: list[Flow] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for body in self._ask(_GET, _REQUEST | _DUMP, _FAMILY.pack(family, 0, 0)):
                flow = parse_flow(body)
                if flow is not None and flow.protocol == protocol:
                    found.append(flow)
        return found

    def forget(self, flow: Flow) -> bool:
        """Take one out of the table; False if it had gone by itself. Raises ConntrackFailed."""
        version = ipaddress.ip_address(flow.destination).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            list(self._ask(_DELETE, _REQUEST | _ACK, _FAMILY.pack(family, 0, 0) + original_tuple(flow)))
        except FileNotFoundError:
            return False
        return True

    def _ask(self, verb: int, flags: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        header = _MESSAGE.pack(_MESSAGE.size + len(body), _CONNTRACK | verb, flags, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            data = self._socket.recv(_BUFFER)
            offset = 0
            while offset < len(data):
                length, kind, _, sequence, _ = _MESSAGE.unpack_from(data, offset)
                content = data[offset + _MESSAGE.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", content)[0]
                    if number == errno.ENOENT:
                        raise FileNotFoundError(number, "no such connection")
                    if number:
                        raise ConntrackFailed(f"tracked connections: {os.strerror(number)}")
                    return
                yield content


def parse_flow(body: bytes) -> Flow | None:
    """A connection from a message without its netlink header; None if it has no ports (ICMP)."""
    fields = dict(_attributes(body[_FAMILY.size :]))
    original, reply = _tuple(fields.get(_ORIGINAL, b"")), _tuple(fields.get(_REPLY, b""))
    if original is None or reply is None:
        return None
    protocol, source, source_port, destination, destination_port = original
    return Flow(protocol, source, source_port, destination, destination_port, reply[1], reply[2])


def original_tuple(flow: Flow) -> bytes:
    """How a connection is named when it is to be forgotten."""
    source, destination = ipaddress.ip_address(flow.source), ipaddress.ip_address(flow.destination)
    kinds = _SOURCES[source.version]
    addresses = _pack(kinds[0], source.packed) + _pack(kinds[1], destination.packed)
    ports = (
        _pack(_NUMBER, struct.pack("B", flow.protocol))
        + _pack(_SOURCE_PORT, struct.pack(">H", flow.source_port))
        + _pack(_DESTINATION_PORT, struct.pack(">H", flow.destination_port))
    )
    return _pack(_ORIGINAL | _NESTED, _pack(_IP | _NESTED, addresses) + _pack(_PROTOCOL | _NESTED, ports))


def _tuple(content: bytes) -> tuple[int, str, int, str, int] | None:
    """Protocol, source, its port, destination, its port."""
    parts = dict(_attributes(content))
    addresses, ports = dict(_attributes(parts.get(_IP, b""))), dict(_attributes(parts.get(_PROTOCOL, b"")))
    if _NUMBER not in ports or _SOURCE_PORT not in ports or _DESTINATION_PORT not in ports:
        return None
    for source, destination in _SOURCES.values():
        if source in addresses and destination in addresses:
            return (
                ports[_NUMBER][0],
                str(ipaddress.ip_address(addresses[source])),
                int.from_bytes(ports[_SOURCE_PORT][:2]),
                str(ipaddress.ip_address(addresses[destination])),
                int.from_bytes(ports[_DESTINATION_PORT][:2]),
            )
    return None


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, content[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _pack(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
