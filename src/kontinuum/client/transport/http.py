"""The real thing: HTTPS with connection reuse, client certificates and bearer tokens, over ``transport.wire``.

To a server of this machine that listens on a UNIX socket for us it is HTTP: nobody else can hear or say anything there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import structlog

from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection as Target
from kontinuum.client.transport.port import Request, Response
from kontinuum.client.transport.wire import READ_BYTES, Connection, Exchange
from kontinuum.foundation.clock import Clock, RealClock
from kontinuum.foundation.sockets import check_path

log = structlog.get_logger(__name__)

_CREDENTIALS_AGE = 60.0
"""Seconds after which token and certificate files are looked at again: both are rotated under our feet."""
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 20.0
"""An idle connection is closed after this. What a burst has opened is given back soon; servers close theirs, with what
was just being written, after 90 seconds or more."""
AT_ONCE = 32
"""Ordinary requests that may be under way; further ones wait. A burst of five hundred would pay for as many handshakes,
at two milliseconds of both sides' processors each and 100 KB, and no server answers it sooner."""
IN_PATHS = "/:@!$&'()*+,;=~"


Connect = Callable[[asyncio.BufferedProtocol], Awaitable[object]]
"""Opens a connection whose bytes the protocol is given. Raises OSError."""


class HttpTransport:
    """One API server. Connections are opened on demand and kept; only what is answered at once shares ``AT_ONCE``."""

    def __init__(
        self, target: Target, *, user_agent: str = "kontinuum", clock: Clock | None = None,
        connect: Connect | None = None,
    ) -> None:  # fmt: skip
        """``connect``: another way to the server than its address."""
        self._target = target
        self._open_connection = connect or self._open_socket
        self._clock = clock or RealClock()
        self._tls = target.tls_context()
        self._token = target.token
        self._files_read = float("-inf")
        address = urlsplit(target.server)
        self._is_plain = address.scheme == "http"
        self._host = address.hostname or ""
        self._port = address.port or (80 if self._is_plain else 443)
        self._called = str(target.socket or target.server)
        """As errors name the server."""
        self._prefix = address.path.rstrip("/")
        self._always = f" HTTP/1.1\r\nHost: {address.netloc}\r\nUser-Agent: {user_agent}\r\n"
        self._room = memoryview(bytearray(READ_BYTES))
        self._idle: list[Connection] = []
        """The one that was used last is the last, and the first to be used again."""
        self._open: set[Connection] = set()
        self._is_closed = False
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def send(self, request: Request) -> Response:
        if request.is_watch or request.is_urgent:
            return await self._send(request, turn=None)
        await self._turns.acquire()
        try:
            return await self._send(request, turn=self._turns)
        except BaseException:
            self._turns.release()
            raise

    async def _send(self, request: Request, turn: asyncio.Semaphore | None) -> Response:
        self._check_open()
        content = self._encoded(request)
        if (connection := self._reusable()) is not None:
            exchange = self._begin(connection, request, content)
            try:
                return await self._answer(connection, exchange, turn)
            except Unreachable:
                # It was closed while it was idle, and we had not heard of that yet. What only reads may ask again.
                if exchange.status or connection.is_open or request.is_write:
                    raise
        connection = await self._connect()
        return await self._answer(connection, self._begin(connection, request, content), turn)

    async def close(self) -> None:
        self._is_closed = True
        connections, self._open, self._idle = self._open, set(), []
        for connection in connections:
            connection.close()
        # The event loop's next turn closes the sockets.
        await asyncio.sleep(0)

    def _begin(self, connection: Connection, request: Request, content: bytes) -> Exchange:
        if request.guard is not None:
            try:
                request.guard()
            except BaseException:
                self._idle.append(connection)
                raise
        return connection.begin(content, seconds=request.timeout, is_stream=request.is_watch)

    async def _answer(
        self, connection: Connection, exchange: Exchange, turn: asyncio.Semaphore | None
    ) -> Response:  # fmt: skip
        try:
            await exchange.wait_head()
        except BaseException:
            exchange.drop()
            # Also if the answer came in the very moment in which it was given up: nobody else knows of the connection.
            connection.close()
            self._open.discard(connection)
            raise
        return _HttpResponse(self, connection, exchange, turn)

    def _reusable(self) -> Connection | None:
        self._close_idle()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._open.discard(connection)
        return None

    def _release(self, connection: Connection) -> None:
        if connection.is_open and connection in self._open:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
        self._close_idle()

    def _close_idle(self) -> None:
        """Those that nobody needs, at every request: else a burst's would stay until the server closes them."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            connection = self._idle.pop(0)
            connection.close()
            self._open.discard(connection)

    async def _connect(self) -> Connection:
        server = self._called
        try:
            self._refresh_credentials()
            connection = Connection(server, self._room)
            async with asyncio.timeout(CONNECT_SECONDS), _closed_if_cancelled(connection):
                await self._open_connection(connection)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"talking to {server}: {str(error) or type(error).__name__}") from error
        self._open.add(connection)
        if self._is_closed:
            connection.close()
        self._check_open()
        return connection

    async def _open_socket(self, connection: asyncio.BufferedProtocol) -> None:
        if self._target.socket is not None:
            path = check_path(self._target.socket)
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, path)
            return
        tls = None if self._is_plain else self._tls
        await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port, ssl=tls)

    def _check_open(self) -> None:
        """What still works while everything ends must open nothing that nobody would close."""
        if self._is_closed:
            raise Unreachable(f"talking to {self._called}: this client is closed")

    def _encoded(self, request: Request) -> bytes:
        self._refresh_credentials()
        target = self._prefix + quote(request.path, safe=IN_PATHS)
        if request.query:
            target += "?" + urlencode(request.query, quote_via=quote)
        head = f"{request.method} {target}{self._always}Accept: {request.accept}\r\n"
        if request.content_type:
            head += f"Content-Type: {request.content_type}\r\n"
        if self._token:
            head += f"Authorization: Bearer {self._token}\r\n"
        if request.body or request.is_write:
            head += f"Content-Length: {len(request.body)}\r\n"
        return f"{head}\r\n".encode("latin-1") + request.body

    def _refresh_credentials(self) -> None:
        now = self._clock.monotonic()
        if now - self._files_read < _CREDENTIALS_AGE:
            return
        self._files_read = now
        if self._target.token_file:
            self._token = Path(self._target.token_file).read_text().strip()
        if isinstance(self._tls, ssl.SSLContext):
            # New handshakes use the new certificate; connections that stand keep theirs until they end.
            self._target.load_certificate(self._tls)


class _HttpResponse:
    def __init__(
        self, transport: HttpTransport, connection: Connection, exchange: Exchange, turn: asyncio.Semaphore | None
    ) -> None:
        self._turn = turn
        self._transport = transport
        self._connection = connection
        self._exchange = exchange

    @property
    def status(self) -> int:
        return self._exchange.status

    async def read(self) -> bytes:
        return await self._exchange.read()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        # A watch event may be as long as the largest object: there is no limit.
        rest = bytearray()
        async for chunk in self._exchange.chunks():
            start = 0
            while (end := chunk.find(b"\n", start)) >= 0:
                rest += chunk[start:end]
                yield bytes(rest)
                rest.clear()
                start = end + 1
            rest += chunk[start:]
        if rest:
            yield bytes(rest)

    async def close(self) -> None:
        # A body that was read to its end gives its connection back; any other cannot be reused.
        self._exchange.drop()
        self._transport._release(self._connection)
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()


@contextlib.asynccontextmanager
async def _closed_if_cancelled(connection: Connection) -> AsyncIterator[None]:
    """Close a connection that is made in the very moment in which its maker is cancelled: nobody else knows of it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise
