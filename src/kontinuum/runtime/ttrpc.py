"""ttrpc: containerd's small RPC protocol over a UNIX socket, both ends of it.

A frame is ten bytes of header (length u32, stream u32, type u8, flags u8; big endian) and a protobuf ``Request`` or
``Response``. Calls are unary; each runs in a task of its own, so that a Wait that lasts for days holds nobody up.
Source: https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from kontinuum.foundation.errors import KontinuumError, Refused, Retryable
from kontinuum.runtime import codec
from kontinuum.runtime.messages import KeyValue, Request, Response, Status

log = structlog.get_logger(__name__)

REQUEST, RESPONSE = 1, 2
LONGEST_MESSAGE = 4 << 20
"""Bytes; the protocol's own limit."""
_HEADER = struct.Struct(">IIBB")


class ProtocolBroken(Refused):
    """The peer does not speak ttrpc; the connection is of no more use."""


class PeerAway(Retryable):
    """The peer closed the connection or never listened."""


class CallFailed(KontinuumError):
    """A call's answer is an error. ``code`` is a gRPC status code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One message with its place in the conversation."""

    stream: int
    type: int
    payload: bytes

    def encode(self) -> bytes:
        return _HEADER.pack(len(self.payload), self.stream, self.type, 0) + self.payload


class FrameBuffer:
    """Bytes in, whole frames out, however the bytes were cut."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes. Raises ProtocolBroken when a frame is longer than allowed."""
        self._held += data
        while len(self._held) >= _HEADER.size:
            length, stream, kind, _flags = _HEADER.unpack_from(self._held)
            if length > LONGEST_MESSAGE:
                raise ProtocolBroken(f"a frame of {length} bytes; {LONGEST_MESSAGE} are allowed")
            end = _HEADER.size + length
            if len(self._held) < end:
                return
            payload = bytes(self._held[_HEADER.size : end])
            del self._held[:end]
            yield Frame(stream, kind, payload)


Handler = Callable[[str, str, bytes], Awaitable[bytes]]
"""(service, method, payload) → payload of the answer. Raises CallFailed."""


class ServerConnection(asyncio.Protocol):
    """One client's connection. When it goes away, calls under way run to their end and their answers are dropped:

    containerd was restarted, not the pod, and half a Create is worse than one that nobody hears of.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = FrameBuffer()
        self._calls: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._buffer.feed(data):
                if frame.type == REQUEST:
                    self._begin(frame)
        except Refused as error:
            log.warning("closing a ttrpc connection", reason=str(error))
            if self._transport is not None:
                self._transport.abort()

    def _begin(self, frame: Frame) -> None:
        request = codec.decode(Request, frame.payload)
        task = asyncio.get_running_loop().create_task(self._answer(frame.stream, request))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _answer(self, stream: int, request: Request) -> None:
        try:
            response = Response(payload=await self._handler(request.service, request.method, request.payload))
        except CallFailed as error:
            response = Response(status=Status(error.code, str(error)))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(Frame(stream, RESPONSE, codec.encode(response)).encode())


class Caller:
    """A connection on which calls are made one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = FrameBuffer()
        self._stream = -1

    @classmethod
    async def connect(cls, path: Path) -> Caller:
        """Raises PeerAway."""
        try:
            return cls(*await asyncio.open_unix_connection(str(path)))
        except OSError as error:
            raise PeerAway(f"connecting to {path}: {error}") from error

    async def call(self, service: str, method: str, payload: bytes, *, metadata: tuple[KeyValue, ...] = ()) -> bytes:
        """The answer's payload. Raises PeerAway, or CallFailed with what the peer said."""
        # Streams of a client have odd numbers.
        self._stream += 2
        request = Request(service=service, method=method, payload=payload, metadata=metadata)
        try:
            self._writer.write(Frame(self._stream, REQUEST, codec.encode(request)).encode())
            await self._writer.drain()
            response = codec.decode(Response, (await self._next_response()).payload)
        except OSError as error:
            raise PeerAway(f"calling {service}/{method}: {error}") from error
        if response.status is not None and response.status.code:
            raise CallFailed(response.status.code, response.status.message)
        return response.payload

    async def _next_response(self) -> Frame:
        while data := await self._reader.read(65536):
            for frame in self._buffer.feed(data):
                if frame.type == RESPONSE and frame.stream == self._stream:
                    return frame
        raise PeerAway("the connection was closed in the middle of a call")

    def close(self) -> None:
        self._writer.close()
