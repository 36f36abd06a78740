"""Asking other servers for names that are none of the cluster's."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from kontinuum.foundation.clock import Clock
from kontinuum.node import names
from kontinuum.node.dns.answers import HEADER, TRUNCATED

PORT = 53
PATIENCE = 2.0
"""Seconds for one server to answer; resolvers give up on us after five."""
ROUNDS = 2
LOOK_AGAIN_SECONDS = 5.0


class HostServers:
    """The name servers of the host's ``resolv.conf``, which may change while we run. ``besides`` are ours."""

    def __init__(self, clock: Clock, *, besides: Sequence[str], file: Path = names.HOST_RESOLVER) -> None:
        self._clock = clock
        self._besides = besides
        self._file = file
        self._known: tuple[str, ...] = ()
        self._read_at = float("-inf")

    def __call__(self) -> tuple[str, ...]:
        if self._clock.monotonic() - self._read_at >= LOOK_AGAIN_SECONDS:
            self._read_at = self._clock.monotonic()
            with contextlib.suppress(OSError):
                told = names.parse_resolver(self._file.read_text())["servers"]
                # Asking ourselves would go on for ever.
                self._known = tuple(one for one in told if one not in self._besides)
        return self._known


class Upstream:
    """Asks ``servers`` one after the other; each question from a port of its own, so that answers cannot be guessed."""

    def __init__(self, servers: Callable[[], Sequence[str]], *, port: int = PORT, patience: float = PATIENCE) -> None:
        self._servers = servers
        self._port = port
        self._patience = patience

    async def ask(self, query: bytes, *, is_datagram: bool) -> bytes | None:
        """The first answer to ``query``, under its own number; None if nobody answers."""
        for server in [*self._servers()] * ROUNDS:
            asked = secrets.token_bytes(2) + query[2:]
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self._patience):
                    said = await self._by_datagram(server, asked)
                    if said[2] & TRUNCATED and not is_datagram:
                        said = await self._by_stream(server, asked)
                    return query[:2] + said[2:]
        return None

    async def _by_datagram(self, server: str, query: bytes) -> bytes:
        transport, waiting = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Waiting(query), remote_addr=(server, self._port)
        )
        try:
            return await waiting.answer
        finally:
            transport.close()

    async def _by_stream(self, server: str, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(len(query).to_bytes(2) + query)
            said = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            if not is_answer(said, query):
                raise ConnectionError("the answer is to another question")
            return said
        finally:
            writer.close()


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the answer to one question, whatever else arrives."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport is one by what it does, not by its class (Python 3.11).
        cast(asyncio.DatagramTransport, transport).sendto(self._query)

    def datagram_received(self, data: bytes, _: object) -> None:
        if not self.answer.done() and is_answer(data, self._query):
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def is_answer(said: bytes, query: bytes) -> bool:
    """Whether it has the question's number, is an answer, and repeats the question."""
    if len(said) < HEADER or said[:2] != query[:2] or not said[2] & 0x80:
        return False
    end = _question_end(query)
    # A server that cannot read the question answers without it.
    return said[4:6] == b"\0\0" or said[HEADER:end].lower() == query[HEADER:end].lower()


def _question_end(query: bytes) -> int:
    offset = HEADER
    while offset < len(query) and query[offset]:
        offset += query[offset] + 1
    return offset + 5
