"""Connections that stop speaking HTTP: as plain streams of bytes, on the client's side and on ours.

client ══anything══▶ API server ══the same══▶ somebody else       after both have said 101
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import ClientResponse
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from kontinuum.foundation.tasks import cancel

PIECE = 64 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Taken(StreamResponse):
    """What a handler returns when it has taken the connection over: there is nothing left to send."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def take_over(request: BaseRequest, headers: Iterable[tuple[str, str]]) -> Streams:
    """The request's connection as plain streams, after a 101 with ``headers``. The HTTP server no longer looks at it.

    Raises ConnectionError if the client has gone.
    """
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers), "", ""]
    request.transport.write("\r\n".join(lines).encode())
    return _streams(request.transport, asyncio.StreamReader())


def upgraded(answer: ClientResponse) -> Streams:
    """The connection on which somebody has answered us with 101."""
    connection = answer.connection
    if connection is None or connection.transport is None or connection.protocol is None:
        raise ConnectionResetError("the other side has gone")
    reader = asyncio.StreamReader()
    # What came in one piece with the answer waits in the HTTP client's protocol, which gives it to any parser.
    connection.protocol.set_parser(_Collector(reader), reader)
    return _streams(connection.transport, reader)


async def join(one: Streams, other: Streams) -> None:
    """Carry bytes both ways until either side ends; then close both."""
    ways = [asyncio.create_task(_carry(one[0], other[1])), asyncio.create_task(_carry(other[0], one[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(*ways)
        one[1].close()
        other[1].close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()
    except OSError:
        return


def _streams(transport: asyncio.Transport, reader: asyncio.StreamReader) -> Streams:
    loop = asyncio.get_running_loop()
    protocol = _Handed(reader, transport.get_protocol())
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    return reader, writer


class _Handed(asyncio.StreamReaderProtocol):
    """Tells the HTTP side's own protocol when the connection is lost, so that it is forgotten there too."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class _Collector:
    """What the HTTP client takes for the parser of an upgraded connection."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Never a protocol error, and nothing is left over."""
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()
