"""This server as a front proxy: its certificate, and the headers that say on whose behalf it asks.

X-Remote-User: jane    X-Remote-Uid: 42    X-Remote-Group: dev    X-Remote-Extra-Scopes: read

An extension server believes them because the connection shows our certificate for front proxies, whose authority is
published in the ConfigMap ``kube-system/extension-apiserver-authentication``.
"""

from __future__ import annotations

import base64
import binascii
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, SERVICES
from kontinuum.api.machinery.selectors import parse_labels
from kontinuum.apiserver.aggregation.extensions import Extension
from kontinuum.apiserver.authn.front_proxy import EXTRA_PREFIX, GROUP, NAME, UID
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.services.resolver import SERVICE_NAME, Unresolved, places_of
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation.errors import Broken
from kontinuum.foundation.sessions import LateSession
from kontinuum.foundation.tls import trusting

CONNECT_SECONDS = 10.0
"""A server that does not answer within this time is away. What it then sends may take as long as it likes."""
HEADER_CHARACTERS = "!#$&'*+^`|"
"""What a header's name may have in it beside letters, digits and ``-._~``; all else is percent-encoded."""


class NoTransport(Broken):
    """TLS towards an extension server cannot be set up: its bundle or our certificate cannot be read."""


class Transport:
    """``close`` ends every stream, and after it no other is opened: ``session`` raises ClientError."""

    def __init__(self, settings: ServerSettings) -> None:
        self._pair = (settings.proxy_client_certificate, settings.proxy_client_key)
        self._session = LateSession(_session)
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._stamp: list[int] = []

    def session(self) -> ClientSession:
        return self._session.opened()

    async def close(self) -> None:
        await self._session.close()

    def tls(self, extension: Extension) -> ssl.SSLContext:
        """Made once for each bundle, and anew when our certificate has been renewed. Raises NoTransport."""
        stamp = [path.stat().st_mtime_ns for path in self._pair if path is not None and path.exists()]
        if stamp != self._stamp:
            self._contexts.clear()
            self._stamp = stamp
        key = (extension.ca_bundle, extension.is_unverified)
        if key not in self._contexts:
            self._contexts[key] = _context(extension, *self._pair)
        return self._contexts[key]


def _session() -> ClientSession:
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    connector = TCPConnector(limit=0, ttl_dns_cache=5)
    return ClientSession(connector=connector, timeout=timeout, auto_decompress=False)


def _context(extension: Extension, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        bundle = base64.b64decode(extension.ca_bundle).decode() if extension.ca_bundle else None
        context = trusting(bundle)
        if extension.is_unverified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key)
    except (binascii.Error, ValueError, OSError, ssl.SSLError) as error:
        raise NoTransport(f"TLS for {extension.name}: {error}") from error
    return context


async def place_of(context: Context, extension: Extension) -> str:
    """``HOST:PORT`` of one that stands behind the extension's Service. Raises Unresolved."""
    service = await context.find(SERVICES, extension.namespace, extension.service)
    if service is None:
        raise Unresolved(f'service "{extension.service}" not found')
    labels = parse_labels(f"{SERVICE_NAME}={extension.service}")
    slices = context.served[ENDPOINTSLICES].cache.select(Selection(extension.namespace, labels))
    return random.choice(places_of(service, [orjson.loads(one.value) for one in slices], extension.port))


def user_headers(user: User) -> Iterator[tuple[str, str]]:
    """See the module (client-go's ``transport.SetAuthProxyHeaders``)."""
    yield NAME, user.name
    if user.uid:
        yield UID, user.uid
    for group in user.groups:
        yield GROUP, group
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{quote(key, safe=HEADER_CHARACTERS)}", value


def is_user_header(name: str) -> bool:
    """Whoever sends us one of these may not have it passed on."""
    lower = name.lower()
    return lower.startswith(EXTRA_PREFIX) or lower in (NAME.lower(), UID.lower(), GROUP.lower())
