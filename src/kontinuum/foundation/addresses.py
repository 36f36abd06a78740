"""Network addresses as settings write them: ``HOST:PORT`` to listen at, and networks in CIDR notation.

Settings check themselves with these when they are made, so that a typing error is told at once by the setting's name
and not by a part that cannot start.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from kontinuum.foundation.errors import Refused

LARGEST_PORT = 65535
cache_some = lru_cache(maxsize=1 << 14)
"""For what is asked of the same thousands of addresses again and again: reading one takes 2 µs, remembering 0.1."""
_IP_FREEBIND = 15


class AddressTaken(Refused):
    """Another process listens at the address, or the address is none of this machine's."""


def split_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT`` as host (empty: every address) and port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > LARGEST_PORT:
        raise ValueError(f'"{text}" is not HOST:PORT')
    return host.strip("[]"), int(port)


def check_listen(name: str, text: str) -> None:
    """Raises ValueError, with the setting's ``name``, if one cannot listen at ``text``."""
    try:
        split_listen(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def check_network(name: str, text: str) -> None:
    """Raises ValueError, with the setting's ``name``, if ``text`` is no network such as ``10.244.0.0/24``."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'{name}: "{text}" is not a network such as 10.244.0.0/24') from error


def split_networks(text: str) -> tuple[str, ...]:
    """The networks of a list that commas separate; none of an empty one."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def check_networks(name: str, text: str) -> None:
    """Raises ValueError unless ``text`` is one network, or two of different IP families separated by a comma."""
    networks = split_networks(text)
    for network in networks or ("",):
        check_network(name, network)
    versions = [ipaddress.ip_network(network).version for network in networks]
    if len(versions) != len(set(versions)):
        raise ValueError(f'{name}: "{text}" has more than one network of a family')


def nth_address(network: str, number: int) -> str:
    """The address that follows ``number`` places after the network's own."""
    return str(ipaddress.ip_network(network).network_address + number)


@cache_some
def canonical(address: str) -> str:
    """An address as the kernel writes it. Raises ValueError."""
    return str(ipaddress.ip_address(address))


@cache_some
def is_inside(address: str, networks: tuple[str, ...]) -> bool:
    """Whether one of ``networks`` has ``address``."""
    found = ipaddress.ip_address(address)
    return any(found.version == one.version and found in one for one in map(ipaddress.ip_network, networks))


def has_interface(name: str) -> bool:
    """Whether our network namespace has an interface of this name; /sys may be that of another."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def check_address(name: str, text: str) -> None:
    """Raises ValueError, with the setting's ``name``, if ``text`` is no IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f'{name}: "{text}" is not an IP address') from error


def check_ports(name: str, text: str) -> None:
    """Raises ValueError, with the setting's ``name``, if ``text`` is no range of ports such as ``30000-32767``."""
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) <= LARGEST_PORT):
        raise ValueError(f'{name}: "{text}" is not a range of ports such as 30000-32767')


@contextmanager
def listening_at(text: str) -> Iterator[None]:
    """Around what opens the socket for ``text``: what the system objects becomes AddressTaken."""
    try:
        yield
    except OSError as error:
        # Event loops write sentences of their own; the name resolver counts its errors from -1 down.
        known = error.errno is not None and error.errno > 0
        raise AddressTaken(f"{text}: {os.strerror(error.errno or 0) if known else error}") from error


def bind_early(host: str, port: int) -> socket.socket:
    """A stream socket bound to ``host``, also if no interface has that address yet. Raises OSError if it is taken."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Python has no name for it (<linux/in.h>); it holds for IPv6 sockets as well.
        bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def try_listen(text: str, *, early: bool = False) -> None:
    """Bind ``HOST:PORT`` for a moment. Raises AddressTaken if that cannot be done now.

    ``early``: the address may come into being later.
    """
    host, port = split_listen(text)
    if early:
        with listening_at(text), bind_early(host, port) as probing:
            probing.listen(1)
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probing:
        # As servers do it: connections of an earlier server that linger do not count.
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with listening_at(text):
            probing.bind((host, port))
            probing.listen(1)
