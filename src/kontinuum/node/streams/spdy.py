"""A SPDY/3.1 client, as far as containerd's streaming endpoint needs one.

containerd 1.6 also speaks WebSocket, but there nobody can say that standard input has ended: ``echo hi | kubectl exec
-i pod -- cat`` would never return. SPDY can half-close a stream.

What is left out: flow control, which containerd's side neither keeps nor expects; pushed streams; and reading headers,
which hold nothing that we do not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Self
from urllib.parse import urlsplit

from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.spdy import HeaderWriter
from kontinuum.foundation.tasks import cancel

SYN_STREAM, RST_STREAM, PING = 1, 3, 6
CONTROL = 0x80
VERSION = 3
FIN = 1
LARGEST_FRAME = 32 << 10
REMOTE_COMMAND = "v4.channel.k8s.io"


class StreamingFailed(Retryable):
    """The runtime's streaming endpoint refused or vanished."""


class SpdyStream:
    """One stream, both ways. ``read`` ends with b"" when the other side has closed its half."""

    def __init__(self, connection: SpdyConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        content = await self._arrived.get()
        self._ended = not content
        return content

    async def read_all(self) -> bytes:
        content = b""
        while part := await self.read():
            content += part
        return content

    async def write(self, content: bytes) -> None:
        for start in range(0, len(content), LARGEST_FRAME):
            await self._connection.send_data(self._number, 0, content[start : start + LARGEST_FRAME])

    async def close_write(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        await self._connection.send_data(self._number, FIN, b"")

    def deliver(self, content: bytes, *, is_last: bool) -> None:
        if content:
            self._arrived.put_nowait(content)
        if is_last:
            self._arrived.put_nowait(b"")


class SpdyConnection:
    """An upgraded connection to ``url``: an async context manager whose inside may open streams."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._headers = HeaderWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._next_number = 1
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        except OSError as error:
            raise StreamingFailed(f"connecting to the runtime's stream: {error}") from error
        try:
            await self._upgrade()
        except BaseException:
            await self._hang_up()
            raise
        self._reading = asyncio.create_task(self._read_frames())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            await cancel(self._reading)
        await self._hang_up()

    async def _hang_up(self) -> None:
        self._writer.close()
        # The other side may have gone first, which is just as well.
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _upgrade(self) -> None:
        path = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Length: 0\r\n"
            f"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {REMOTE_COMMAND}\r\n\r\n"
        )
        self._writer.write(request.encode())
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise StreamingFailed(f"the runtime's stream ended before it began: {error}") from error
        status = head.splitlines()[0]
        if status.split()[1] != "101":
            raise StreamingFailed(f"the runtime refused the stream: {status}")

    async def open_stream(self, kind: str) -> SpdyStream:
        """A new stream of a remote command: ``error``, ``stdin``, ``stdout``, ``stderr`` or ``resize``."""
        number, self._next_number = self._next_number, self._next_number + 2
        stream = self._streams[number] = SpdyStream(self, number)
        body = struct.pack(">IIH", number, 0, 0) + self._headers.block({"streamtype": kind})
        await self._send(struct.pack(">BBHI", CONTROL, VERSION, SYN_STREAM, len(body)) + body)
        return stream

    async def send_data(self, number: int, flags: int, content: bytes) -> None:
        await self._send(struct.pack(">II", number, flags << 24 | len(content)) + content)

    async def _send(self, frame: bytes) -> None:
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError as error:
            raise StreamingFailed(f"writing to the runtime's stream: {error}") from error

    async def _read_frames(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(8)
                flags, length = head[4], int.from_bytes(head[5:8])
                body = await self._reader.readexactly(length)
                if head[0] & CONTROL:
                    await self._control(int.from_bytes(head[2:4]), body)
                else:
                    stream = self._streams.get(int.from_bytes(head[:4]))
                    if stream is not None:
                        stream.deliver(body, is_last=bool(flags & FIN))
        except (OSError, asyncio.IncompleteReadError):
            # The end of the connection is the end of every stream on it.
            return
        finally:
            for stream in self._streams.values():
                stream.deliver(b"", is_last=True)

    async def _control(self, kind: int, body: bytes) -> None:
        if kind == PING:
            await self._send(struct.pack(">BBHI", CONTROL, VERSION, PING, len(body)) + body)
        elif kind == RST_STREAM:
            stream = self._streams.get(int.from_bytes(body[:4]) & 0x7FFFFFFF)
            if stream is not None:
                stream.deliver(b"", is_last=True)
