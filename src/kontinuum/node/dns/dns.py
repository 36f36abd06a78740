"""DNS of this node put together: informers fill the zone, the server answers from it, the Service leads to it."""

from __future__ import annotations

import errno

import structlog

from kontinuum.api.machinery.objects import Object, labels_of, name_of, namespace_of
from kontinuum.client.informer import Change, Informer
from kontinuum.foundation.clock import Clock
from kontinuum.node.dns.answers import Answerer
from kontinuum.node.dns.server import DnsServer
from kontinuum.node.dns.upstream import HostServers, Upstream
from kontinuum.node.dns.zone import Zone
from kontinuum.node.settings import NodeSettings

log = structlog.get_logger(__name__)

PORT = 53
SERVICE_NAME = "kubernetes.io/service-name"


class Dns:
    """See the module."""

    def __init__(
        self, services: Informer, slices: Informer, namespaces: Informer, settings: NodeSettings, clock: Clock
    ) -> None:
        self._settings = settings
        networks = (*settings.cluster_networks, *settings.pod_networks, *settings.service_networks)
        self._zone = Zone(settings.cluster_domain, networks)
        host_servers = HostServers(clock, besides=(*settings.cluster_dns, *settings.dns_addresses))
        upstream = Upstream(lambda: settings.dns_upstreams or host_servers())
        self._server = DnsServer(Answerer(self._zone), upstream)
        services.add_handler(self._on_service)
        slices.add_handler(self._on_slice)
        namespaces.add_handler(self._on_namespace)

    async def start(self) -> int:
        """Listen at the node's DNS addresses. Returns the port: 53, or another if somebody has that. Raises OSError."""
        addresses = self._settings.dns_addresses
        try:
            return await self._server.start(addresses, PORT)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        await self._server.stop()
        port = await self._server.start(addresses, 0)
        log.warning(
            "another program has port 53 of every address: the Service kube-dns leads to another port of ours, which "
            "network policies that let pods ask port 53 alone must name too",
            port=port,
        )
        return port

    async def stop(self) -> None:
        await self._server.stop()

    def _on_service(self, change: Change, service: Object, _: Object | None) -> None:
        if change == "deleted":
            self._zone.remove_service(namespace_of(service), name_of(service))
        else:
            self._zone.put_service(service)

    def _on_namespace(self, change: Change, namespace: Object, _: Object | None) -> None:
        (self._zone.remove_namespace if change == "deleted" else self._zone.put_namespace)(name_of(namespace))

    def _on_slice(self, change: Change, endpoint_slice: Object, old: Object | None) -> None:
        namespace, name = namespace_of(endpoint_slice), name_of(endpoint_slice)
        before = labels_of(old).get(SERVICE_NAME) if old is not None else None
        now = labels_of(endpoint_slice).get(SERVICE_NAME)
        if before and (change == "deleted" or before != now):
            self._zone.remove_slice(namespace, before, name)
        if now and change != "deleted":
            self._zone.put_slice(namespace, now, endpoint_slice)
