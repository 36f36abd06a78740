"""The loop that keeps the rules of all Services in the kernel.

    informers ──▶ keys of Services that have changed ──▶ service_fragment (pure) ──▶ one transaction ──▶ clean-up

Changes that come while a transaction runs are carried out together in the next one.
"""

from __future__ import annotations

import asyncio

import structlog

from kontinuum.api.machinery.objects import Object, key_of, labels_of, namespace_of
from kontinuum.client.informer import Change, Informer
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.conntrack import UDP, Conntrack, ConntrackFailed
from kontinuum.foundation.nftables import TransactionRefused
from kontinuum.node.filter_table import FilterTable
from kontinuum.node.proxy.endpoints import FAMILIES, Place, endpoints_of
from kontinuum.node.proxy.frontends import frontends_of
from kontinuum.node.proxy.health import Figures, LocalHealth, LocalService
from kontinuum.node.proxy.rules import Networks, service_fragment
from kontinuum.node.proxy.stale import UdpPort, stale, udp_ports
from kontinuum.node.ruleset import NOTHING, Fragment

log = structlog.get_logger(__name__)

SERVICE_NAME = "kubernetes.io/service-name"
BY_SERVICE = "service"
OWNER = "service/"
AGAIN_SECONDS = 5.0
"""After the kernel refused everything."""


def service_of(endpoint_slice: Object) -> list[str]:
    """The index of EndpointSlices by the key of their Service."""
    name = labels_of(endpoint_slice).get(SERVICE_NAME)
    return [f"{namespace_of(endpoint_slice)}/{name}"] if name else []


class Proxy:
    """See the module. ``slices`` must have the index ``BY_SERVICE``."""

    def __init__(
        self, services: Informer, slices: Informer, table: FilterTable, place: Place, networks: Networks, clock: Clock
    ) -> None:
        self._services, self._slices = services, slices
        self._table = table
        self._place, self._networks = place, networks
        self._clock = clock
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._local: dict[str, tuple[int, LocalService]] = {}
        self._udp: dict[str, list[UdpPort]] = {}
        self.figures = Figures(clock)
        self._health = LocalHealth(lambda: not self.figures.is_failing)
        services.add_handler(self._on_service)
        slices.add_handler(self._on_slice)

    def move(self, place: Place) -> None:
        """We are somewhere else than we thought (the node's zone was labelled)."""
        if place != self._place:
            self._place = place
            self._dirty.update(self._services.all_keys())
            self._wake.set()

    def fill(self) -> None:
        """Put the rules of every Service into the ruleset, without telling the kernel yet."""
        for key in self._services.all_keys():
            self._decide(key)
        self._dirty.clear()

    async def run(self) -> None:
        """Until cancelled. The table must have been written with what ``fill`` put."""
        conntrack = Conntrack()
        try:
            await self._clean(conntrack, [NOTHING] * len(self._services.all_keys()), self._services.all_keys())
            while True:
                await self._health.show(dict(self._local.values()))
                await self._wake.wait()
                self._wake.clear()
                keys, began = sorted(self._dirty), self._clock.monotonic()
                self._dirty.clear()
                before = [self._table.ruleset.get(OWNER + key) for key in keys]
                for key in keys:
                    self._decide(key)
                try:
                    await self._table.apply()
                except TransactionRefused as error:
                    self.figures.failed()
                    log.error("the packet filter refuses the rules of Services", error=str(error)[:2000])
                    self._dirty.update(keys)
                    await self._clock.sleep(AGAIN_SECONDS)
                    self._wake.set()
                    continue
                self.figures.done(self._clock.monotonic() - began)
                await self._clean(conntrack, before, keys)
        finally:
            conntrack.close()
            await self._health.close()

    def _on_service(self, _: Change, service: Object, __: Object | None) -> None:
        self._dirty.add(key_of(service))
        self._wake.set()

    def _on_slice(self, _: Change, endpoint_slice: Object, old: Object | None) -> None:
        for one in (endpoint_slice, old):
            if one is not None:
                self._dirty.update(service_of(one))
        self._wake.set()

    def _decide(self, key: str) -> None:
        service, owner = self._services.get(key), OWNER + key
        if service is None:
            self._local.pop(key, None)
            self._table.ruleset.put(owner, NOTHING)
            return
        slices = self._slices.by_index(BY_SERVICE, key)
        before = self._table.ruleset.get(owner)
        self._table.ruleset.put(owner, service_fragment(service, slices, self._place, self._networks, before))
        port = (service.get("spec") or {}).get("healthCheckNodePort")
        if port and (service.get("spec") or {}).get("externalTrafficPolicy") == "Local":
            self._local[key] = (int(port), _local_service(service, slices, self._place.node))
        else:
            self._local.pop(key, None)

    async def _clean(self, conntrack: Conntrack, before: list[Fragment], keys: list[str]) -> None:
        """Forget connections and clients that lead to endpoints which have gone."""
        changed: list[UdpPort] = []
        for key, old in zip(keys, before, strict=True):
            service, known = self._services.get(key), self._udp.pop(key, [])
            ports = udp_ports(service, self._slices.by_index(BY_SERVICE, key)) if service is not None else []
            if ports:
                self._udp[key] = ports
            if ports != known:
                left = {one.frontend for one in ports}
                changed += [*ports, *(UdpPort(one.frontend, frozenset()) for one in known if one.frontend not in left)]
            new = self._table.ruleset.get(OWNER + key)
            for name, values in _narrowed(old, new):
                await self._table.keep_only(name, values)
        if changed:
            try:
                gone = [flow for flow in stale(conntrack.flows(UDP), changed) if conntrack.forget(flow)]
            except ConntrackFailed as error:
                log.warning("connections to endpoints that have gone may live on", error=str(error))
            else:
                log.debug("forgot connections to endpoints that have gone", count=len(gone))


def _narrowed(old: Fragment, new: Fragment) -> list[tuple[str, set[str]]]:
    """The maps of remembered clients whose endpoints have become fewer, and the endpoints that remain."""
    found = []
    for name, one in new.sets.items():
        if not name.startswith("endpoints-"):
            continue
        clients = name.replace("endpoints-", "clients-", 1)
        remaining = set(one.elements.values())
        if clients in new.sets and name in old.sets and set(old.sets[name].elements.values()) - remaining:
            # Of IPv6 endpoints the address alone is remembered.
            found.append((clients, remaining | {value.partition(" . ")[0] for value in remaining}))
    return found


def _local_service(service: Object, slices: list[Object], node: str) -> LocalService:
    """How many endpoints of the Service, by address, are ready on this node."""
    addresses = {
        endpoint.address
        for frontend in frontends_of(service)
        for family in FAMILIES.values()
        for endpoint in endpoints_of(slices, port=frontend.name, protocol=frontend.protocol, family=family, node=node)
        if endpoint.is_local and endpoint.is_ready
    }
    return LocalService(namespace_of(service), service["metadata"]["name"], len(addresses))
