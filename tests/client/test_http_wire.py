"""What arrives in any pieces is read as the same answer; what is no HTTP is never taken for one."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection as Target
from kontinuum.client.transport.http import HttpTransport
from kontinuum.client.transport.port import Request
from kontinuum.client.transport.wire import Connection, Exchange

BODY = b'{"kind": "Pod"}\n' * 3
LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n" + BODY
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"10;x=y\r\n" + BODY[:16] + b"\r\n2\r\n" + BODY[16:18] + b"\r\n1E\r\n" + BODY[18:] + b"\r\n0\r\nTrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\n\r\n" + BODY


class Socket(asyncio.Transport):
    """Takes what is written, and tells the protocol of its end as a real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


def opened() -> Connection:
    connection, socket = Connection("https://server"), Socket()
    socket.protocol = connection
    connection.connection_made(socket)
    return connection


def begun(*, seconds: float = 30.0, is_stream: bool = False) -> tuple[Connection, Exchange]:
    connection = opened()
    return connection, connection.begin(b"GET / HTTP/1.1\r\n\r\n", seconds=seconds, is_stream=is_stream)


@given(st.sampled_from([LENGTH, CHUNKS, INTERIM, UNTIL_THE_END]), st.sets(st.integers(1, 180)))
def test_an_answer_is_the_same_in_any_pieces(answer: bytes, cuts: set[int]) -> None:
    async def main() -> None:
        connection, exchange = begun()
        for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]):
            connection.take_in(answer[start:end])
        if answer is UNTIL_THE_END:
            connection.connection_lost(None)
        await exchange.wait_head()
        assert (exchange.status, await exchange.read()) == (200, BODY)
        assert connection.is_open == (answer is not UNTIL_THE_END)

    asyncio.run(main())


@given(st.binary(max_size=200))
def test_anything_else_is_no_answer(noise: bytes) -> None:
    async def main() -> None:
        connection, exchange = begun()
        connection.take_in(noise)
        connection.connection_lost(None)
        with pytest.raises(Unreachable):
            await exchange.wait_head()
            await exchange.read()

    asyncio.run(main())


@pytest.mark.parametrize("cut", [1, 30, len(LENGTH) - 1])
async def test_an_answer_that_breaks_off_is_no_answer(cut: int) -> None:
    connection, exchange = begun()
    connection.take_in(LENGTH[:cut])
    connection.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(Unreachable, match="talking to https://server: reset"):
        await exchange.wait_head()
        await exchange.read()


async def test_a_stream_gives_what_has_come_before_it_breaks() -> None:
    connection, exchange = begun(is_stream=True)
    connection.take_in(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    connection.connection_lost(None)
    taken = []
    with pytest.raises(Unreachable):
        async for chunk in exchange.chunks():
            taken.append(chunk)
    assert taken == [b"abc"]


async def test_an_answer_may_not_take_for_ever_and_a_stream_may_not_be_silent_for_ever() -> None:
    for is_stream in (False, True):
        connection, exchange = begun(seconds=0.01, is_stream=is_stream)
        connection.take_in(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        with pytest.raises(Unreachable, match=r"no answer within 0\.01 s"):
            await exchange.read()
        assert not connection.is_open


async def test_what_nobody_asked_for_ends_the_connection() -> None:
    connection = opened()
    connection.take_in(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert not connection.is_open


async def test_a_connection_that_was_closed_meanwhile_costs_a_reader_nothing_and_tells_a_writer() -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LENGTH)
        # The next request on this connection meets its end.
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = HttpTransport(Target(f"http://127.0.0.1:{port}/prefix"))

    async def ask(method: str) -> bytes:
        response = await transport.send(Request(method, "/api"))
        try:
            return await response.read()
        finally:
            await response.close()

    assert await ask("GET") == BODY
    assert await ask("GET") == BODY
    assert served == 2
    with pytest.raises(Unreachable):
        await ask("POST")
    assert served == 2
    await transport.close()
    server.close()
    await server.wait_closed()
