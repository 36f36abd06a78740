"""Connections of other people's clients, which go on closing after their client is closed."""

from __future__ import annotations

import asyncio


async def until_all_are_closed() -> None:
    """Return when no connection of this event loop is open, after a minute at most.

    The end of a TLS connection takes a round trip, for which aiohttp does not wait if the connection was not in its
    pool: a WebSocket's, a watch's. A loop that ends before leaves an open socket to the garbage, and that fails
    whichever test runs when it is collected.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    async with asyncio.timeout(60):
        while any(one.get_extra_info("socket").fileno() != -1 for one in list(loop._transports.values())):
            await asyncio.sleep(0.01)
