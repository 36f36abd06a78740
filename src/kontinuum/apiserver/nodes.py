"""The API server as a client of the nodes' own servers, with its certificate for nodes; and of what runs on them."""

from __future__ import annotations

import ssl

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.sessions import LateSession

CONNECT_SECONDS = 10.0
"""A node that does not answer within this time is away. What it then sends may take as long as it likes."""
ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")
"""Which of a node's addresses is dialled, best first. Kubernetes begins with the host's name, which needs a DNS."""


class Nodes:
    """``close`` ends every stream, and after it no other is opened: both sessions raise ClientError."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._session = LateSession(lambda: _session(self._tls()))
        self._plain = LateSession(lambda: _session(False))

    def plain(self) -> ClientSession:
        """For what runs in the cluster: nobody's certificate is shown, and nobody's is checked (as in Kubernetes)."""
        return self._plain.opened()

    def session(self) -> ClientSession:
        """Raises ApiError 503 if no certificate for nodes is configured."""
        return self._session.opened()

    async def close(self) -> None:
        await self._session.close()
        await self._plain.close()

    def _tls(self) -> ssl.SSLContext:
        settings = self._settings
        if settings.node_client_certificate is None or settings.node_client_key is None or settings.node_ca is None:
            problem = "this API server has no certificate for nodes (node_client_certificate, node_client_key, node_ca)"
            raise status.service_unavailable(f"{problem}, so there are no logs, exec or attach")
        try:
            context = ssl.create_default_context(cafile=str(settings.node_ca))
            context.load_cert_chain(settings.node_client_certificate, settings.node_client_key)
        except (OSError, ssl.SSLError) as error:
            raise status.service_unavailable(f"reading the certificate for nodes: {error}") from error
        return context


def _session(tls: ssl.SSLContext | bool) -> ClientSession:
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    return ClientSession(connector=TCPConnector(ssl=tls, limit=0), timeout=timeout, auto_decompress=False)


def address_of(node: Object) -> str:
    """``https://10.0.0.1:10250``. Raises ApiError 503 if the node has not said where it listens."""
    found = node.get("status") or {}
    port = ((found.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
    addresses = {one.get("type"): one.get("address") for one in found.get("addresses") or ()}
    host = next((addresses[kind] for kind in ADDRESS_TYPES if addresses.get(kind)), None)
    if not host or not port:
        raise status.service_unavailable(f'node "{name_of(node)}" has not reported where its server listens')
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
