"""Which endpoints of a Service a node leads connections to (kubernetes ``pkg/proxy/topology.go``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.addresses import canonical

NOBODY: frozenset[str] = frozenset()
FAMILIES = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind a port of a Service."""

    address: str
    port: int
    is_ready: bool
    is_serving: bool
    is_leaving: bool
    is_local: bool
    zones: frozenset[str]
    """Zones that should use it; empty if nobody has said."""
    nodes: frozenset[str]

    @property
    def key(self) -> str:
        """As nft writes an address and a port beside each other."""
        return f"{self.address} . {self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are."""

    node: str
    zone: str = ""


def endpoints_of(slices: Iterable[Object], *, port: str, protocol: str, family: int, node: str) -> list[Endpoint]:
    """The endpoints that the slices tell of for the port called ``port``, each address and port once, in order.

    An address that two slices tell of (while it moves from one to the other) is as ready as the readier one says.
    """
    found: dict[str, Endpoint] = {}
    for one in slices:
        if FAMILIES.get(one.get("addressType", "")) != family:
            continue
        numbers = [
            offered["port"]
            for offered in one.get("ports") or ()
            if (offered.get("name") or "") == port
            and offered.get("protocol", "TCP") == protocol
            and offered.get("port")
        ]
        for number in numbers:
            for told in one.get("endpoints") or ():
                endpoint = _endpoint(told, number, node)
                other = found.get(endpoint.key)
                if other is None or (endpoint.is_ready, endpoint.is_serving) > (other.is_ready, other.is_serving):
                    found[endpoint.key] = endpoint
    return sorted(found.values(), key=lambda one: (one.address, one.port))


def _endpoint(told: Object, port: int, node: str) -> Endpoint:
    conditions, hints = told.get("conditions") or {}, told.get("hints") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    return Endpoint(
        # Consumers use the first address alone (discovery.k8s.io/v1); as the kernel writes it.
        address=canonical(told["addresses"][0]),
        port=port,
        is_ready=ready,
        is_serving=ready if serving is None else bool(serving),
        is_leaving=bool(conditions.get("terminating")),
        is_local=bool(node) and told.get("nodeName") == node,
        zones=_named(hints.get("forZones")),
        nodes=_named(hints.get("forNodes")),
    )


def _named(hints: list[Object] | None) -> frozenset[str]:
    return frozenset(one["name"] for one in hints) if hints else NOBODY


def usable(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Those that are ready; if none is, those that still serve while they are on their way out (KEP-1669)."""
    ready = [one for one in endpoints if one.is_ready]
    return ready or [one for one in endpoints if one.is_serving and one.is_leaving]


def local(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Those of this node, for traffic that must not leave it."""
    return usable([one for one in endpoints if one.is_local])


def cluster_wide(endpoints: Sequence[Endpoint], place: Place) -> list[Endpoint]:
    """Those that traffic which may go anywhere uses: nearby ones if all endpoints say whom they are for (KEP-2433).

    A hint that only some carry, or that leaves us without any, is no hint: it may be half way through a change.
    """
    chosen = usable(endpoints)
    if not any(one.is_ready for one in chosen):
        return chosen
    for near, told in (
        ([one for one in chosen if place.node in one.nodes], all(one.nodes for one in chosen)),
        ([one for one in chosen if place.zone and place.zone in one.zones], all(one.zones for one in chosen)),
    ):
        if near and told:
            return near
    return chosen
