"""An HTTP/1.1 client so small that it costs a tenth of what it measures."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from kontinuum.client import kubeconfig

JSON = "application/json"
MERGE = "application/merge-patch+json"
EVENT = b'{"type":"'


class Wire:
    """One keep-alive connection; Go's servers answer long bodies in chunks, so it reads those too."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authorization: str) -> None:
        self._reader = reader
        self._writer = writer
        self._authorization = f"Authorization: {authorization}\r\n" if authorization else ""

    async def call(self, method: str, path: str, body: bytes = b"", media: str = JSON) -> bytes:
        """The reply's body. Raises RuntimeError unless the answer is a success."""
        head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nAccept: application/json\r\n{self._authorization}"
        if body:
            head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        headers = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length: " in headers:
            length = int(headers.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            content = await self._reader.readexactly(length)
        else:
            content = await self._chunks()
        if headers[9:10] != b"2":
            raise RuntimeError(f"{method} {path}: {headers.splitlines()[0]!r} {content[:200]!r}")
        return content

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readline()
        return b"".join(parts)

    async def watch(self, path: str) -> None:
        """Open a watch; ``events`` reads it."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: api\r\n{self._authorization}\r\n".encode())
        await self._reader.readuntil(b"\r\n\r\n")

    async def events(self, count: int, *, first: Callable[[], None] = lambda: None) -> list[float]:
        """Return when ``count`` more events have come: when each came, in seconds of ``time.perf_counter``.

        ``first`` is called when some have come. Raises RuntimeError if the watch ends before.
        """
        came: list[float] = []
        tail = b""
        while len(came) < count:
            read = await self._reader.read(1 << 20)
            if not read:
                raise RuntimeError(f"the watch ended after {len(came)} of {count} events")
            if not came and EVENT in read:
                first()
            content = tail + read
            came += [time.perf_counter()] * content.count(EVENT)
            # A mark may be cut in two by a read; one that has been counted must not be counted again.
            tail = content[-(len(EVENT) - 1) :]
        return came

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Address:
    """Where connections go, and what they show."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    authorization: str

    @classmethod
    def of(cls, connection: kubeconfig.Connection) -> Address:
        address = urlsplit(connection.server)
        tls = connection.tls_context()
        token = f"Bearer {connection.token}" if connection.token else ""
        context = tls if isinstance(tls, ssl.SSLContext) else None
        return cls(address.hostname or "127.0.0.1", address.port or 443, context, token)

    async def open(self) -> Wire:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=1 << 22)
        return Wire(reader, writer, self.authorization)
