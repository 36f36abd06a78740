"""The DNS server of a node, on UDP and TCP.

What the cluster knows is answered at once, in the callback that brought the question; only what others must be asked
becomes a task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import cast

import structlog

from kontinuum.foundation.addresses import bind_early
from kontinuum.node.dns.answers import Answerer, Ask
from kontinuum.node.dns.upstream import Upstream

log = structlog.get_logger(__name__)

MOST_ASKED = 1000
"""Questions that others are being asked at one time; further ones are answered at once that it failed."""
MOST_CONNECTIONS = 256
IDLE_SECONDS = 10.0
"""How long a TCP connection may be silent (RFC 7766 wants a few seconds)."""


class DnsServer:
    """See the module."""

    def __init__(self, answerer: Answerer, upstream: Upstream) -> None:
        self._answerer = answerer
        self._upstream = upstream
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self, addresses: Sequence[str], port: int) -> int:
        """Listen at every address; port 0 lets the system choose one. Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            listening = bind_early(address, port)
            port = listening.getsockname()[1]
            self._servers.append(await asyncio.start_server(self._connected, sock=listening))
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(address, port))
            self._transports.append(transport)
        return port

    async def stop(self) -> None:
        """Listen no more; what is still being asked goes unanswered."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        self._transports, self._servers = [], []
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def datagram(self, transport: asyncio.DatagramTransport, wire: bytes, sender: tuple[str, int]) -> None:
        answer = self._answerer.answer(wire, is_datagram=True)
        if isinstance(answer, bytes):
            transport.sendto(answer, sender)
        elif answer is not None and len(self._asking) < MOST_ASKED:
            task = asyncio.ensure_future(self._ask(transport, answer, sender))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        elif answer is not None:
            transport.sendto(answer.finish(None), sender)

    async def _ask(self, transport: asyncio.DatagramTransport, ask: Ask, sender: tuple[str, int]) -> None:
        said = await self._upstream.ask(ask.query, is_datagram=True)
        if not transport.is_closing():
            transport.sendto(ask.finish(said), sender)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            while self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(IDLE_SECONDS):
                    wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                answer = self._answerer.answer(wire, is_datagram=False)
                if isinstance(answer, Ask):
                    answer = answer.finish(await self._upstream.ask(answer.query, is_datagram=False))
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2) + answer)
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # The client has what it wanted, or does not go on.
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport is one by what it does, not by its class (Python 3.11).
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        assert self._transport is not None
        self._server.datagram(self._transport, data, sender)

    def error_received(self, error: Exception) -> None:
        log.debug("an answer did not arrive", error=str(error))
