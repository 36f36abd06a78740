"""What pods have sent and received, counted at the host's end of their wires: the same in every class.

A pod has a wire of its own to the host (decision 0032), and the host a route for it to each of the pod's addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
INTERFACE = "eth0"
"""What a pod's end of its wire is called inside."""


@dataclass(frozen=True, slots=True)
class Interface:
    """Bytes and errors since the interface was made."""

    name: str
    received: int
    receive_errors: int
    sent: int
    send_errors: int

    def seen_from_the_other_end(self, name: str) -> Interface:
        return Interface(name, self.sent, self.send_errors, self.received, self.receive_errors)


def counters(proc: Path = PROC) -> dict[str, Interface]:
    """Every interface of this network namespace. Raises OSError."""
    found = {}
    for line in (proc / "net" / "dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(number) for number in rest.split()]
        found[name.strip()] = Interface(name.strip(), numbers[0], numbers[2], numbers[8], numbers[10])
    return found


def wires(proc: Path = PROC) -> dict[str, str]:
    """The interface behind which each single address is."""
    return dict((*_routes_v4(proc), *_routes_v6(proc)))


def default_interface(proc: Path = PROC) -> str:
    """That of the default route, or ""."""
    for line in _lines(proc / "net" / "route")[1:]:
        name, destination, *rest = line.split()
        if destination == rest[5] == "00000000":
            return name
    return ""


def of_pod(ips: tuple[str, ...], wired: Mapping[str, str], counted: Mapping[str, Interface]) -> Interface | None:
    """The pod's own interface; None for one on the host's network, and for one that is just coming or going."""
    wire = next((wired[ip] for ip in ips if ip in wired), "")
    return counted[wire].seen_from_the_other_end(INTERFACE) if wire in counted else None


def _routes_v4(proc: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(proc / "net" / "route")[1:]:
        name, destination, *rest = line.split()
        if rest[5] == "FFFFFFFF":
            yield str(ipaddress.IPv4Address(bytes.fromhex(destination)[::-1])), name


def _routes_v6(proc: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(proc / "net" / "ipv6_route"):
        destination, length, *rest = line.split()
        if length == "80":
            yield str(ipaddress.IPv6Address(bytes.fromhex(destination))), rest[-1]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
