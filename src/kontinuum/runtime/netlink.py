"""A few sentences of rtnetlink, the kernel's language for links, addresses, routes and traffic control.

``ip`` and ``tc`` would be five processes in the second in which a pod starts; this is five system calls. Layouts:
rtnetlink(7), <linux/rtnetlink.h>, <linux/pkt_cls.h>, <linux/tc_act/tc_mirred.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from kontinuum.foundation.errors import Retryable

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 17, 18, 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE, _RTM_NEWQDISC, _RTM_DELQDISC, _RTM_NEWTFILTER = 24, 26, 36, 37, 44
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_TRAFFIC = struct.Struct("=BxxxiIII")

_INGRESS_PARENT, _INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_EVERY_PROTOCOL = 0x0003
_ROUTE_TABLE_MAIN, _ROUTE_TYPE_UNICAST, _SCOPE_LINK = 254, 1, 253
_UP = 0x1
_BUFFER = 1 << 16


class NetlinkFailed(Retryable):
    """The kernel refused; the message says what was asked and why it was refused."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    name: str
    mac: str
    mtu: int
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table."""

    destination: str
    """With prefix length; ``0.0.0.0/0`` or ``::/0`` for the default."""
    gateway: str
    """Empty for what is on the link."""


class Netlink:
    """A conversation with the kernel about the network namespace in which the object was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        """Every interface."""
        return [_link(body) for body in self._dump(_RTM_GETLINK, _RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0))]

    def addresses(self, index: int) -> list[str]:
        """Addresses of an interface with prefix length; those of link scope are left out."""
        found = self._dump(_RTM_GETADDR, _RTM_NEWADDR, _ADDRESS.pack(0, 0, 0, 0, 0))
        return [text for body in found if (text := _address(body, index))]

    def routes(self, index: int) -> list[Route]:
        """Routes that leave through an interface, in the kernel's order."""
        found = self._dump(_RTM_GETROUTE, _RTM_NEWROUTE, _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))
        return [route for body in found if (route := _route(body, index))]

    def bring_up(self, index: int, *, mtu: int) -> None:
        """Set an interface's MTU (bytes) and switch it on."""
        body = _LINK.pack(0, 0, index, _UP, _UP) + _attribute(4, struct.pack("=I", mtu))
        self._do("switching on the tap", _RTM_NEWLINK, _REQUEST | _ACK, body)

    def move(self, index: int, *, namespace: int) -> None:
        """Give an interface to another network namespace (a descriptor). It arrives there switched off."""
        body = _LINK.pack(0, 0, index, 0, 0) + _attribute(28, struct.pack("=I", namespace))
        self._do("moving the tap", _RTM_NEWLINK, _REQUEST | _ACK, body)

    def delete(self, index: int) -> None:
        """Do away with an interface."""
        self._do("removing a tap", _RTM_DELLINK, _REQUEST | _ACK, _LINK.pack(0, 0, index, 0, 0))

    def add_ingress(self, index: int) -> None:
        """Give an interface the queueing discipline to which filters on arriving packets are tied."""
        body = _TRAFFIC.pack(0, index, _INGRESS_HANDLE, _INGRESS_PARENT, 0) + _attribute(1, b"ingress\0")
        self._do("adding an ingress qdisc", _RTM_NEWQDISC, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, body)

    def remove_ingress(self, index: int) -> None:
        """Take it away, with its filters. Raises NetlinkFailed if there is none."""
        body = _TRAFFIC.pack(0, index, _INGRESS_HANDLE, _INGRESS_PARENT, 0)
        self._do("removing an ingress qdisc", _RTM_DELQDISC, _REQUEST | _ACK, body)

    def redirect(self, source: int, target: int) -> None:
        """Send every packet that arrives at interface ``source`` out through ``target``.

        u32 with an empty match, because the simpler ``matchall`` is missing in many kernels.
        """
        # One key whose mask is zero matches everything; the selector is terminal (flag 1).
        selector = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)
        # index, capabilities, action (stolen), references, bindings, mirred's own action (egress redirect), interface
        mirred = struct.pack("=IIiiiiI", 0, 0, 4, 0, 0, 1, target)
        action = _attribute(1, _attribute(1, b"mirred\0") + _attribute(2, _attribute(2, mirred)))
        options = _attribute(2, _attribute(5, selector) + _attribute(7, action))
        info = 1 << 16 | socket.htons(_EVERY_PROTOCOL)
        body = _TRAFFIC.pack(0, source, 0, _INGRESS_HANDLE, info) + _attribute(1, b"u32\0") + options
        self._do("adding a redirecting filter", _RTM_NEWTFILTER, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, body)

    def _do(self, what: str, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, flags, body)
        for answer, payload in self._receive():
            if answer == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", payload)
                if code:
                    name = errno.errorcode.get(-code, "unknown")
                    raise NetlinkFailed(f"{what}: {os.strerror(-code)} ({name})")
                return

    def _dump(self, ask: int, answer: int, body: bytes) -> list[bytes]:
        self._send(ask, _REQUEST | _DUMP, body)
        found: list[bytes] = []
        while True:
            for kind, payload in self._receive():
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", payload)
                    raise NetlinkFailed(f"listing: {os.strerror(-code)}")
                if kind == answer:
                    found.append(payload)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, self._sequence, 0) + body)

    def _receive(self) -> Iterator[tuple[int, bytes]]:
        data = self._socket.recv(_BUFFER)
        position = 0
        while position + _MESSAGE.size <= len(data):
            length, kind, _flags, _sequence, _port = _MESSAGE.unpack_from(data, position)
            yield kind, data[position + _MESSAGE.size : position + length]
            position += _aligned(length)


def _aligned(length: int) -> int:
    return length + 3 & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[position + _ATTRIBUTE.size : position + length]
        position += _aligned(length)
    return found


def _link(body: bytes) -> Link:
    _family, _kind, index, flags, _change = _LINK.unpack_from(body)
    attributes = _attributes(body[_LINK.size :])
    return Link(
        index=index,
        name=attributes[3].rstrip(b"\0").decode(),
        mac=attributes.get(1, b"").hex(":"),
        mtu=int.from_bytes(attributes[4][:4], "little"),
        is_loopback=bool(flags & 0x8),
    )


def _address(body: bytes, index: int) -> str:
    family, prefix, _flags, scope, of = _ADDRESS.unpack_from(body)
    if of != index or scope == _SCOPE_LINK:
        return ""
    attributes = _attributes(body[_ADDRESS.size :])
    # IFA_LOCAL is the address itself for IPv4; IPv6 has only IFA_ADDRESS.
    return f"{socket.inet_ntop(family, attributes.get(2) or attributes[1])}/{prefix}"


def _route(body: bytes, index: int) -> Route | None:
    family, prefix, _source, _tos, table, _protocol, _scope, kind, _flags = _ROUTE.unpack_from(body)
    attributes = _attributes(body[_ROUTE.size :])
    leaves_by = int.from_bytes(attributes.get(4, b""), "little")
    if family not in (socket.AF_INET, socket.AF_INET6) or table != _ROUTE_TABLE_MAIN or kind != _ROUTE_TYPE_UNICAST:
        return None
    if leaves_by != index:
        return None
    nowhere = bytes(4 if family == socket.AF_INET else 16)
    destination = socket.inet_ntop(family, attributes.get(1, nowhere))
    gateway = socket.inet_ntop(family, attributes[5]) if 5 in attributes else ""
    return Route(f"{destination}/{prefix}", gateway)
