"""The server's side of SPDY/3.1, for clients that do not speak WebSocket yet: kubectl before 1.31.

    kubectl ══SPDY streams══▶ API server ══WebSocket channels══▶ node

The client opens one stream for each of error, stdin, stdout, stderr and resize, and names it in a header; here the
streams become the channels of ``v5.channel.k8s.io``, which can also say that standard input has ended. There is no
flow control beyond TCP's, as in Kubernetes' own implementation.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable

from aiohttp import ClientWebSocketResponse, WSMsgType
from aiohttp.web_request import BaseRequest

from kontinuum.foundation import spdy
from kontinuum.foundation.takeover import Taken, take_over
from kontinuum.foundation.tasks import cancel

PROTOCOL = "v4.channel.k8s.io"
SWITCHING = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", PROTOCOL))
NODE_PROTOCOL = "v5.channel.k8s.io"
CHANNELS = ("stdin", "stdout", "stderr", "error", "resize")
CLOSE = 255
STREAMS_SECONDS = 30.0
"""How long a client may take to open its streams (Kubernetes' own limit)."""
FAREWELL_SECONDS = 5.0
"""How long a client may take to hang up once it has been told how the command ended."""


MOST_STREAMS = 100
"""Streams on one connection; exec needs five."""


class SpdyConnection:
    """An upgraded connection. ``run`` reads it; ``arrived`` fills with (kind, content), None being a stream's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._headers_in, self._headers_out = spdy.HeaderReader(), spdy.HeaderWriter()
        self._kinds: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._opened = asyncio.Condition()
        self.arrived: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue(maxsize=64)

    async def wait_streams(self, kinds: Iterable[str]) -> None:
        """Until the client has opened all of these. Raises TimeoutError."""
        wanted = set(kinds)
        async with asyncio.timeout(STREAMS_SECONDS), self._opened:
            await self._opened.wait_for(lambda: wanted <= self._numbers.keys())

    async def write(self, kind: str, content: bytes) -> None:
        """Content for a stream that the client has not opened is dropped: it did not ask for it."""
        number = self._numbers.get(kind)
        if number is None:
            return
        for start in range(0, len(content), spdy.LARGEST_DATA):
            self._writer.write(spdy.data_frame(number, content[start : start + spdy.LARGEST_DATA]))
        await self._writer.drain()

    async def close_streams(self) -> None:
        """Say on every stream that nothing more comes."""
        for number in self._kinds:
            self._writer.write(spdy.data_frame(number, b"", spdy.FIN))
        await self._writer.drain()

    async def run(self) -> None:
        """Read until the client hangs up. Raises ValueError for frames that make no sense."""
        try:
            while True:
                head = await self._reader.readexactly(8)
                flags, length = head[4], int.from_bytes(head[5:8])
                if length > spdy.LARGEST_FRAME:
                    raise ValueError(f"a SPDY frame of {length} bytes is too large")
                body = await self._reader.readexactly(length)
                if head[0] & spdy.CONTROL:
                    await self._control(int.from_bytes(head[2:4]), body)
                else:
                    await self._data(int.from_bytes(head[:4]), body, is_last=bool(flags & spdy.FIN))
        except (asyncio.IncompleteReadError, OSError):
            return

    async def _control(self, frame: int, body: bytes) -> None:
        if frame == spdy.SYN_STREAM:
            number = int.from_bytes(body[:4])
            if len(self._kinds) >= MOST_STREAMS:
                raise ValueError("too many SPDY streams")
            kind = self._headers_in.read(body[10:]).get("streamtype", "")
            self._kinds[number], self._numbers[kind] = kind, number
            reply = struct.pack(">I", number) + self._headers_out.block({})
            self._writer.write(spdy.control_frame(spdy.SYN_REPLY, reply))
            async with self._opened:
                self._opened.notify_all()
        elif frame == spdy.PING:
            self._writer.write(spdy.control_frame(spdy.PING, body))
        elif frame == spdy.RST_STREAM:
            await self._data(int.from_bytes(body[:4]), b"", is_last=True)

    async def _data(self, number: int, content: bytes, *, is_last: bool) -> None:
        kind = self._kinds.get(number, "")
        if content:
            await self.arrived.put((kind, content))
        if is_last:
            await self.arrived.put((kind, None))


async def relay(request: BaseRequest, node: ClientWebSocketResponse, kinds: Iterable[str]) -> Taken:
    """Carry one exec or attach between the client's SPDY streams and the node's WebSocket, until either side ends."""
    reader, writer = take_over(request, SWITCHING)
    client = SpdyConnection(reader, writer)
    reading = asyncio.create_task(client.run())
    inwards = asyncio.create_task(_inwards(client, node))
    try:
        await client.wait_streams(kinds)
        outwards = asyncio.create_task(_outwards(node, client))
        await asyncio.wait({reading, outwards}, return_when=asyncio.FIRST_COMPLETED)
        if outwards.done():
            await asyncio.wait({reading}, timeout=FAREWELL_SECONDS)
        await cancel(outwards)
    finally:
        await cancel(inwards, reading)
        await node.close()
        writer.close()
    return Taken()


async def _inwards(client: SpdyConnection, node: ClientWebSocketResponse) -> None:
    while True:
        kind, content = await client.arrived.get()
        if kind not in ("stdin", "resize"):
            continue
        channel = CHANNELS.index(kind)
        await node.send_bytes(bytes([CLOSE, channel]) if content is None else bytes([channel]) + content)


async def _outwards(node: ClientWebSocketResponse, client: SpdyConnection) -> None:
    async for message in node:
        if message.type is WSMsgType.BINARY and message.data and message.data[0] < len(CHANNELS):
            await client.write(CHANNELS[message.data[0]], message.data[1:])
    await client.close_streams()
