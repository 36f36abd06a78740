"""The body of somebody else's answer, passed on as it comes: a node's log, an extension server's watch."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import ClientError, ClientResponse
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from kontinuum.apiserver.links import Links

GONE_CHECK_SECONDS = 5.0
"""How soon a quiet stream notices that its client has gone."""


async def pass_on(
    source: ClientResponse, response: StreamResponse, request: BaseRequest, links: Links | None = None
) -> None:
    """Until either side ends, changed by ``links``. ``response`` has been prepared for ``request``."""
    arriving: asyncio.Task[bytes] | None = None
    with contextlib.suppress(ConnectionError):  # the client has gone; there is nobody to tell
        try:
            while not _has_left(request):
                arriving = arriving or asyncio.create_task(source.content.readany())
                done, _ = await asyncio.wait({arriving}, timeout=GONE_CHECK_SECONDS)
                if not done:
                    continue
                piece, arriving = arriving.result(), None
                if not piece:
                    await response.write_eof(links.end() if links is not None else b"")
                    break
                if links is not None:
                    piece = links.feed(piece)
                if piece:
                    await response.write(piece)
        finally:
            if arriving is not None:
                arriving.cancel()
                with contextlib.suppress(asyncio.CancelledError, ClientError):
                    await arriving


def _has_left(request: BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
