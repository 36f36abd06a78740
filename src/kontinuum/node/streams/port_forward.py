"""A port-forward's connection, passed on to the runtime as it is: both ends speak SPDY/3.1 or WebSocket channels."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from aiohttp.web_response import StreamResponse

from kontinuum.foundation.spdy_client import StreamingFailed
from kontinuum.foundation.takeover import Taken, join, take_over

PASSED = ("Connection", "Upgrade", "X-Stream-Protocol-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key",
          "Sec-WebSocket-Version", "Sec-WebSocket-Extensions")  # fmt: skip
"""Headers that agree on what is spoken."""


async def carry(request: web.Request, url: str, ports: list[str]) -> StreamResponse:
    """Join ``request`` and the runtime's one-use ``url`` until either side ends. Raises StreamingFailed."""
    place = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
    except OSError as error:
        raise StreamingFailed(f"connecting to the runtime's stream: {error}") from error
    try:
        query = urlencode([("port", port) for port in ports])
        lines = [f"{request.method} {place.path}{f'?{query}' if query else ''} HTTP/1.1", f"Host: {place.netloc}"]
        lines += [f"{name}: {value}" for name in PASSED for value in request.headers.getall(name, [])]
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        headers = await _agreed(reader)
        await join(take_over(request, headers), (reader, writer))
    finally:
        writer.close()
    return Taken()


async def _agreed(reader: asyncio.StreamReader) -> list[tuple[str, str]]:
    """The headers of the runtime's 101."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise StreamingFailed(f"the runtime's stream ended before it began: {error}") from error
    first, *lines = head.strip().split("\r\n")
    if first.split(" ", 2)[1:2] != ["101"]:
        raise StreamingFailed(f"the runtime refused the stream: {first}")
    pairs = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]
