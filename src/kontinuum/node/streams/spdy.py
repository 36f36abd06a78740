"""The runtime's streaming endpoint, which is had once by a URL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import SplitResult, urlsplit

from kontinuum.foundation.spdy_client import REMOTE_COMMAND, SpdyConnection, StreamingFailed


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[SpdyConnection]:
    """Raises StreamingFailed."""
    place = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
    except OSError as error:
        raise StreamingFailed(f"connecting to the runtime's stream: {error}") from error
    try:
        await _upgrade(place, reader, writer)
    except BaseException:
        writer.close()
        raise
    async with SpdyConnection(reader, writer) as connection:
        yield connection


async def _upgrade(place: SplitResult, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = place.path + (f"?{place.query}" if place.query else "")
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 0\r\n"
        f"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {REMOTE_COMMAND}\r\n\r\n"
    )
    writer.write(request.encode())
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
    except (OSError, asyncio.IncompleteReadError) as error:
        raise StreamingFailed(f"the runtime's stream ended before it began: {error}") from error
    status = head.splitlines()[0]
    if status.split()[1] != "101":
        raise StreamingFailed(f"the runtime refused the stream: {status}")
