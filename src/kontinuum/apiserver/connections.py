"""Connections of clients, and which of them are cut off: those that make the server keep something for too long.

    accepted ──▶ waiting for a request ──▶ answering ──▶ waiting ...          each client's place is one connection
                   │ headers do not come      │ nobody reads the answer
                   ▼                          ▼
                 cut off after ``header_seconds``, ``stalled_seconds``; idle after ``idle_seconds``

Clocks are looked at once in a while for all connections together, so that a request pays for two assignments only. What
a body takes is bounded by the request's own time and by ``maximum_body_bytes`` (see ``body``), what a watch takes by
its queue (see ``watcher``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar, cast

import orjson
import structlog
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server

from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.request import Request

log = structlog.get_logger(__name__)
T = TypeVar("T")

LONGEST_HEAD = 1024 * 1024
"""Bytes of a request's line and headers together (Go's ``DefaultMaxHeaderBytes``)."""
LONGEST_LINE = 256 * 1024
"""Bytes of the request line: selectors travel in it."""
LONGEST_FIELD = 64 * 1024
"""Bytes of one header."""
MOST_FIELDS = 256
READ_BYTES = 64 * 1024
"""What is read of a connection at once: longer bodies come in several reads."""
UNSENT_BYTES = 32 * 1024
"""As soon as so much waits for a client that reads slowly, nothing more is made for it. uvloop would let 512 KB wait,
and a TLS connection keeps the room that they took for as long as it lives."""
LOOK_SECONDS = 1.0


class Limits(NamedTuple):
    """Seconds, and a number."""

    header_seconds: float
    idle_seconds: float
    stalled_seconds: float
    most: int


class _InPlace:
    """The event loop, but for tasks: what is to become one runs where it is awaited.

    The base class makes a task of each request, for a context of its own, which nobody here needs; a task costs two
    more turns of the loop (8 µs). The connection's own task answers its requests, one after the other.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_at, self.call_later, self.create_future, self.time = (
            loop.call_at, loop.call_later, loop.create_future, loop.time,
        )  # fmt: skip

    def create_task(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return work


class Intake(asyncio.BufferedProtocol):
    """What the event loop calls for a connection; every other call than a read it passes on.

    All connections are read into one buffer, since each read is used up before the next one. For other protocols uvloop
    makes an object of 256 KB at each read of a TLS connection, and then a smaller one of it: so many bytes are mapped,
    moved and unmapped again (three system calls and a page fault for each request).
    """

    def __init__(self, connection: RequestHandler, room: memoryview) -> None:
        self._connection = connection
        self._room = room

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._room[:nbytes]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connection.connection_lost(exc)

    def eof_received(self) -> None:
        self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


class Connection(RequestHandler):
    """One client's. Times are the event loop's, 0 where nothing is waited for."""

    __slots__ = ("_received", "is_answering", "is_local", "is_stream", "on_leaving", "stalled_since", "waiting_since")

    def __init__(self, manager: Connections, *, is_local: bool, **options: Any) -> None:
        super().__init__(manager, **options)
        self.is_local = is_local
        """It came by the socket for this machine's own parts."""
        self.is_answering = False
        self.is_stream = False
        """Somebody reads along, and may pause: the output of a pod is not thrown away because of a pager."""
        self.waiting_since = 0.0
        """When the first byte of a request came that is not there as a whole."""
        self.stalled_since = 0.0
        """When the client began not to read."""
        self.on_leaving: Callable[[], None] | None = None
        """Told when the client goes while it is answered."""
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=UNSENT_BYTES)
        if sys.version_info < (3, 12):  # Later ones begin a task at once, in place.
            self._loop = cast(asyncio.AbstractEventLoop, _InPlace(self._loop))
        # A client that never says anything is as slow as one that never ends.
        self.waiting_since = self._loop.time()
        if self.is_local and not may_be_a_part(user := user_of_peer(transport.get_extra_info("socket"))):
            # The socket's mode keeps others out. This holds also if somebody has changed that.
            log.warning("a connection to the socket is refused", user=user)
            self.cut_off()
        manager = self._manager
        if isinstance(manager, Connections) and len(manager.connections) > manager.limits.most:
            log.warning("a connection is refused: there are too many", most=manager.limits.most)
            self.cut_off()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.on_leaving is not None:
            self.on_leaving()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_answering:
            return
        if not self.waiting_since:
            self.waiting_since = self._loop.time()
            self._received = 0
        self._received += len(data)
        # More than the longest head and the largest piece that is read at once: no request has come of it.
        if self._received > 2 * LONGEST_HEAD:
            self.cut_off()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # The base class is asked to go on after each part of a body, paused or not, and asks the parser and the
        # transport in turn.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_since = 0.0

    def cut_off(self) -> None:
        """At once; what was still to be sent is thrown away."""
        transport = self.transport
        self.force_close()
        # A TLS connection that is only closed waits for a farewell that a silent client never sends.
        if transport is not None:
            transport.abort()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> StreamResponse:
        """What is no HTTP gets a Status too, and no traceback: nobody needs to hear of each port scan."""
        log.info("what a client sent is no request", peer=request.remote, reason=message or str(exc))
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is on its way")
        response = _refusal(status, exc, message or "")
        response.force_close()
        return response


class Connections(Server):
    """The low-level server: it makes a ``Connection`` for each client, and looks after them in ``watch_over``."""

    def __init__(self, handler: Callable[[Request], Awaitable[StreamResponse]], limits: Limits) -> None:
        super().__init__(self._answer, request_factory=self._request)
        self.limits = limits
        self._handler = handler
        self._room = memoryview(bytearray(READ_BYTES))

    def accept(self, *, is_local: bool = False) -> asyncio.BufferedProtocol:
        """For the next client; what the event loop is to call."""
        connection = Connection(
            self,
            is_local=is_local,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=self.limits.idle_seconds,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_FIELD,
            max_headers=MOST_FIELDS,
        )
        return Intake(connection, self._room)

    async def watch_over(self) -> None:
        """Cut off the slow ones. Ends only by cancellation."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        for connection in self.connections:
            if isinstance(connection, Connection):
                reason = self._too_slow(connection, now)
                if reason:
                    log.info("a slow client is cut off", peer=connection.peername, reason=reason)
                    connection.cut_off()

    def _too_slow(self, connection: Connection, now: float) -> str:
        waiting, stalled = connection.waiting_since, connection.stalled_since
        if waiting and not connection.is_answering and now - waiting > self.limits.header_seconds:
            return "its request does not come"
        if stalled and not connection.is_stream and now - stalled > self.limits.stalled_seconds:
            return "it does not read its answer"
        return ""

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> BaseRequest:
        request = Request(message, payload, protocol, writer, task, self._loop)
        request.is_local = isinstance(protocol, Connection) and protocol.is_local
        return request

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection) and isinstance(request, Request)
        connection.is_answering = True
        try:
            return await self._handler(request)
        finally:
            connection.is_answering = connection.is_stream = False
            connection.on_leaving = None
            connection.waiting_since = 0.0


def user_of_peer(line: Any) -> int:
    """The user id of who has connected to a UNIX socket; ``line`` is a socket, or what an event loop shows of one."""
    # struct ucred: pid, uid, gid (unix(7)).
    user: int = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return user


def may_be_a_part(user: int) -> bool:
    """Whether a process of this user may be one of this machine's parts: the server's own user, and root."""
    return user in (0, os.geteuid())


def allow_pauses(request: BaseRequest) -> None:
    """The answer is a stream that its reader may leave unread for as long as it likes."""
    if isinstance(request.protocol, Connection):
        request.protocol.is_stream = True


def notice_leaving(request: BaseRequest, tell: Callable[[], None]) -> None:
    """Call ``tell`` if the client goes before it has its answer, also if it is gone already."""
    connection = request.protocol
    if request.transport is None:
        tell()
    elif isinstance(connection, Connection):
        connection.on_leaving = tell


def has_begun(request: BaseRequest) -> bool:
    """A part of the answer is on its way, so that no other can be given."""
    return request.writer.output_size > 0


def break_off(request: BaseRequest) -> None:
    """End an answer that has begun, so that its client notices that it is not whole."""
    if request.transport is not None:
        request.transport.close()


def _refusal(code: int, problem: BaseException | None, message: str) -> Response:
    if isinstance(problem, LineTooLong):
        code, reason, message = 431, "", "Request Header Fields Too Large"
    elif code == 400:
        reason, message = "BadRequest", message.partition("\n")[0] or "the request is no HTTP"
    else:
        reason, message = "InternalError", "Internal error occurred"
    body = orjson.dumps(ApiError(code, reason, message).to_status())
    return Response(body=body, status=code, content_type="application/json")
