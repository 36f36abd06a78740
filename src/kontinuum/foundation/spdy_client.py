"""A SPDY/3.1 client, as far as the streaming endpoints of containerd and of kubelets need one.

containerd 1.6 also speaks WebSocket, but there nobody can say that standard input has ended: ``echo hi | kubectl exec
-i pod -- cat`` would never return. SPDY can half-close a stream.

What is left out: SPDY's flow control, which containerd's side neither keeps nor expects (TCP's does, once we do not
read); pushed streams; and reading headers, which hold nothing that we do not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from typing import Self

from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.spdy import HeaderWriter
from kontinuum.foundation.tasks import cancel

SYN_STREAM, RST_STREAM, PING = 1, 3, 6
CONTROL = 0x80
VERSION = 3
FIN = 1
LARGEST_FRAME = 32 << 10
UNREAD_FRAMES = 16
"""Of one stream, and containerd's are of 32 KiB at most: a client that reads slowly must not fill this process. All
streams of a connection wait then; they have one reader anyway."""
REMOTE_COMMAND = "v4.channel.k8s.io"


class StreamingFailed(Retryable):
    """A streaming endpoint refused or vanished."""


class SpdyStream:
    """One stream, both ways. ``read`` ends with b"" when the other side has closed its half."""

    def __init__(self, connection: SpdyConnection, number: int) -> None:
        self._connection = connection
        self.number = number
        self._arrived: deque[bytes] = deque()
        self._is_over = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def unread(self) -> int:
        """Pieces that wait to be read."""
        return len(self._arrived)

    async def read(self) -> bytes:
        while not (self._arrived or self._is_over):
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self._arrived.popleft() if self._arrived else b""

    async def read_all(self) -> bytes:
        content = b""
        while part := await self.read():
            content += part
        return content

    async def write(self, content: bytes) -> None:
        for start in range(0, len(content), LARGEST_FRAME):
            await self._connection.send_data(self.number, 0, content[start : start + LARGEST_FRAME])

    async def close_write(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        await self._connection.send_data(self.number, FIN, b"")

    async def deliver(self, content: bytes) -> None:
        """Returns when it is among the few that wait to be read: whoever reads slowly is written to slowly."""
        while self.unread >= UNREAD_FRAMES:
            self._room.clear()
            await self._room.wait()
        self._arrived.append(content)
        self._news.set()

    def finish(self) -> None:
        """No more will come."""
        self._is_over = True
        self._news.set()


class SpdyConnection:
    """A connection on which both sides have agreed to speak SPDY: a context manager whose inside may open streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = HeaderWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._next_number = 1

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read_frames())
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel(self._reading)
        self._writer.close()
        # The other side may have gone first, which is just as well.
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def stream(self) -> SpdyStream:
        """The next stream, which the other side does not know of yet."""
        number, self._next_number = self._next_number, self._next_number + 2
        stream = self._streams[number] = SpdyStream(self, number)
        return stream

    async def open_stream(self, kind: str) -> SpdyStream:
        """A new stream of a remote command: ``error``, ``stdin``, ``stdout``, ``stderr`` or ``resize``."""
        stream = self.stream()
        number = stream.number
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
            raise StreamingFailed(f"writing to the stream: {error}") from error

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
                    if stream is not None and body:
                        await stream.deliver(body)
                    if stream is not None and flags & FIN:
                        stream.finish()
        except (OSError, asyncio.IncompleteReadError):
            # The end of the connection is the end of every stream on it.
            return
        finally:
            for stream in self._streams.values():
                stream.finish()

    async def _control(self, kind: int, body: bytes) -> None:
        if kind == PING:
            await self._send(struct.pack(">BBHI", CONTROL, VERSION, PING, len(body)) + body)
        elif kind == RST_STREAM:
            stream = self._streams.get(int.from_bytes(body[:4]) & 0x7FFFFFFF)
            if stream is not None:
                stream.finish()
