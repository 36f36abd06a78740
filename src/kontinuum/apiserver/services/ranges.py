"""The addresses that Services can be given: those of the cluster's ServiceCIDRs, in an order that keeps some free."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Sequence

from kontinuum.api.kubernetes.resources import SERVICECIDRS
from kontinuum.api.kubernetes.validation.identifiers import Network
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.settings import ServerSettings

LEAST_KEPT, MOST_KEPT = 16, 256
"""Bounds of the part of a range, at its beginning, that is given out last, so that people can choose from it."""


def configured(settings: ServerSettings) -> list[Network]:
    """The ranges of the default ServiceCIDR; the first one's family is the cluster's own."""
    return [ipaddress.ip_network(text.strip()) for text in settings.service_cidrs.split(",")]


def families(settings: ServerSettings) -> list[str]:
    return [f"IPv{network.version}" for network in configured(settings)]


async def usable(context: Context, family: str) -> list[Network]:
    """The ranges that addresses of ``family`` may be taken from now, the widest first and none within another."""
    found = [ipaddress.ip_network(text) for one in await context.list(SERVICECIDRS) if _is_usable(one)
             for text in (one.get("spec") or {}).get("cidrs") or ()]  # fmt: skip
    found = sorted((one for one in found if f"IPv{one.version}" == family), key=lambda one: one.prefixlen)
    return [one for index, one in enumerate(found) if not any(_is_within(one, wider) for wider in found[:index])]


def _is_usable(cidr: Object) -> bool:
    ready = get_condition(cidr, "Ready")
    return not cidr["metadata"].get("deletionTimestamp") and (ready is None or ready.get("status") == "True")


def _is_within(network: Network, wider: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(wider, ipaddress.IPv4Network):
        return network.subnet_of(wider)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(wider, ipaddress.IPv6Network):
        return network.subnet_of(wider)
    return False


def first_and_last(network: Network) -> tuple[int, int]:
    """The usable addresses as numbers, both inclusive: not the network's own and not IPv4's broadcast address."""
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    return first, last


def holds(networks: Sequence[Network], address: str) -> Network | None:
    """The range that has ``address``, the widest if several do."""
    found = ipaddress.ip_address(address)
    return next((one for one in networks if found.version == one.version and found in one), None)


def candidates(network: Network) -> Iterator[str]:
    """Every usable address: from a random one on through the upper part, then the part that is kept."""
    first, last = first_and_last(network)
    size = last - first + 1
    kept = kept_of(size)
    for low, count in ((first + kept, size - kept), (first, kept)):
        if count <= 0:
            continue
        start = random.randrange(count)
        for step in range(count):
            yield str(type(network.network_address)(low + (start + step) % count))


def kept_of(size: int) -> int:
    """How much of ``size`` is given out last; nothing of a small range (KEP-3070)."""
    return 0 if size < LEAST_KEPT else min(max(LEAST_KEPT, size // 16), MOST_KEPT)
