"""The real thing: HTTPS with connection reuse, client certificates and bearer tokens, by aiohttp."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import structlog
from yarl import URL

from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.transport.port import Request, Response
from kontinuum.foundation.clock import Clock, RealClock
from kontinuum.foundation.sessions import LateSession

log = structlog.get_logger(__name__)

_CREDENTIALS_AGE = 60.0
"""Seconds after which token and certificate files are looked at again: both are rotated under our feet."""

_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


class HttpTransport:
    """One API server. Connections are opened on demand and kept; there is no limit, because watches hold theirs."""

    def __init__(self, connection: Connection, *, user_agent: str = "kontinuum", clock: Clock | None = None) -> None:
        self._connection = connection
        self._user_agent = user_agent
        self._clock = clock or RealClock()
        self._tls = connection.tls_context()
        self._session = LateSession(self._make_session)
        self._token = connection.token
        self._files_read = float("-inf")

    async def send(self, request: Request) -> Response:
        # The total is bounded for ordinary requests; a watch only by its silence, else it would be cut off when busy.
        limits = aiohttp.ClientTimeout(
            total=None if request.is_watch else request.timeout, connect=10.0, sock_read=request.timeout
        )
        url = URL.build(path=request.path, query=dict(request.query))
        try:
            self._refresh_credentials()
            response = await self._session.opened().request(
                request.method,
                url,
                data=request.body or None,
                headers=self._headers(request),
                timeout=limits,
                allow_redirects=False,
            )
        except _BROKEN as error:
            raise _unreachable(self._connection.server, error) from error
        return _HttpResponse(response, self._connection.server)

    async def close(self) -> None:
        await self._session.close()

    def _make_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=90)
        return aiohttp.ClientSession(
            self._connection.server,
            connector=connector,
            headers={"User-Agent": self._user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"Accept": request.accept}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _refresh_credentials(self) -> None:
        now = self._clock.monotonic()
        if now - self._files_read < _CREDENTIALS_AGE:
            return
        self._files_read = now
        if self._connection.token_file:
            self._token = Path(self._connection.token_file).read_text().strip()
        if isinstance(self._tls, ssl.SSLContext):
            # New handshakes use the new certificate; connections that stand keep theirs until they end.
            self._connection.load_certificate(self._tls)


class _HttpResponse:
    def __init__(self, response: aiohttp.ClientResponse, server: str) -> None:
        self._response = response
        self._server = server

    @property
    def status(self) -> int:
        return self._response.status

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        except _BROKEN as error:
            raise _unreachable(self._server, error) from error

    async def lines(self) -> AsyncGenerator[bytes, None]:
        # aiohttp's own readline refuses long lines; a watch event may be as long as the largest object.
        rest = bytearray()
        try:
            async for chunk in self._response.content.iter_any():
                start = 0
                while (end := chunk.find(b"\n", start)) >= 0:
                    rest += chunk[start:end]
                    yield bytes(rest)
                    rest.clear()
                    start = end + 1
                rest += chunk[start:]
        except _BROKEN as error:
            raise _unreachable(self._server, error) from error
        if rest:
            yield bytes(rest)

    async def close(self) -> None:
        # A body that was read to its end has given its connection back already; any other cannot be reused.
        self._response.close()


def _unreachable(server: str, error: BaseException) -> Unreachable:
    return Unreachable(f"talking to {server}: {str(error) or type(error).__name__}")
