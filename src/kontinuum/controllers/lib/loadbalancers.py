"""Addresses of Services of type LoadBalancer, from the pool that the operator names. Pure.

Who has which address stands in the Services' status alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"


class NoAddress(Refused):
    """The Service cannot have what it needs. The message says why."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from ``first`` to ``last``, both inclusive, as numbers."""

    version: int
    first: int
    last: int

    def text(self, number: int) -> str:
        return str(ipaddress.IPv4Address(number) if self.version == 4 else ipaddress.IPv6Address(number))


@dataclass(frozen=True, slots=True)
class Pool:
    """The ranges, in the order in which they are used."""

    ranges: tuple[Range, ...]

    @classmethod
    def parse(cls, text: str) -> Pool:
        """``192.0.2.10-192.0.2.20,198.51.100.0/28,2001:db8::/112``. Raises ValueError.

        Of an IPv4 network its own and the broadcast address are left out; a range has all that it names.
        """
        return cls(tuple(_range(one.strip()) for one in text.split(",") if one.strip()))

    def has(self, version: int) -> bool:
        return any(one.version == version for one in self.ranges)

    def holds(self, address: str) -> bool:
        found = ipaddress.ip_address(address)
        return any(one.version == found.version and one.first <= int(found) <= one.last for one in self.ranges)

    def free(self, version: int, taken: Collection[str]) -> str | None:
        """The first address that nobody has. ``taken`` are written as addresses are, canonically."""
        for one in self.ranges:
            if one.version != version:
                continue
            # Of one more address than are taken, one is free.
            for number in range(one.first, min(one.last, one.first + len(taken)) + 1):
                if (address := one.text(number)) not in taken:
                    return address
        return None


def _range(text: str) -> Range:
    first, dash, last = text.partition("-")
    if dash:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
        if low.version != high.version or int(low) > int(high):
            raise ValueError(f'"{text}" does not lead from an address to a later one')
        return Range(low.version, int(low), int(high))
    network = ipaddress.ip_network(text)
    edge = 1 if network.version == 4 and network.prefixlen < 31 else 0
    return Range(network.version, int(network.network_address) + edge, int(network.broadcast_address) - edge)


def is_wanted(service: Object, own_class: str) -> bool:
    """Whether we are to give it addresses: other classes are other people's."""
    spec = service["spec"]
    is_ours = (spec.get("loadBalancerClass") or own_class) == own_class
    return spec.get("type") == "LoadBalancer" and is_ours and "deletionTimestamp" not in service["metadata"]


def has_finalizer(service: Object) -> bool:
    return FINALIZER in (service["metadata"].get("finalizers") or ())


def addresses_of(service: Object) -> list[str]:
    """What its status says that it has."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [str(ipaddress.ip_address(one["ip"])) for one in ingress if one.get("ip")]


def choose(service: Object, held: Collection[str], taken: Collection[str], pool: Pool) -> list[str]:
    """The addresses that the Service should have, one for each of its IP families: those of ``held`` where possible.

    ``taken`` are all others'. Raises NoAddress.
    """
    spec = service["spec"]
    asked = _asked(spec, taken, pool)
    found = []
    families = [int(one.removeprefix("IPv")) for one in spec.get("ipFamilies") or ("IPv4",)]
    for version in families:
        if asked is not None and ipaddress.ip_address(asked).version == version:
            found.append(asked)
            continue
        kept = next((one for one in held if _fits(one, version, pool) and one not in taken), None)
        address = kept or pool.free(version, taken)
        if address is not None:
            found.append(address)
        elif pool.has(version):
            raise NoAddress(f"no IPv{version} address of the pool is free")
        elif len(families) == 1 or spec.get("ipFamilyPolicy") == "RequireDualStack":
            raise NoAddress(f"the pool has no IPv{version} addresses")
    if not found:
        raise NoAddress("the pool has no addresses of the Service's families")
    return found


def _asked(spec: Object, taken: Collection[str], pool: Pool) -> str | None:
    text = spec.get("loadBalancerIP")
    if not text:
        return None
    try:
        asked = str(ipaddress.ip_address(text))
    except ValueError as error:
        raise NoAddress(f"spec.loadBalancerIP {text} is no address") from error
    if not pool.holds(asked):
        raise NoAddress(f"spec.loadBalancerIP {asked} is not in the pool")
    if asked in taken:
        raise NoAddress(f"spec.loadBalancerIP {asked} belongs to another Service")
    if f"IPv{ipaddress.ip_address(asked).version}" not in (spec.get("ipFamilies") or ("IPv4",)):
        raise NoAddress(f"spec.loadBalancerIP {asked} is of none of the Service's families")
    return asked


def _fits(address: str, version: int, pool: Pool) -> bool:
    return ipaddress.ip_address(address).version == version and pool.holds(address)
