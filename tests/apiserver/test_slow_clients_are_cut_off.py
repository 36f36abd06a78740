"""No client can make the server keep a connection, a buffer or a task for longer than the settings say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, Certificates, client_tls, configmap, serving

from kontinuum.apiserver.connections import UNSENT_BYTES, Connection
from kontinuum.apiserver.replies import PIECE
from kontinuum.store.memory.store import MemoryStore

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HOST = b"Host: localhost\r\n"


@contextlib.asynccontextmanager
async def connected(api: Api, tls: ssl.SSLContext, *, buffer: int = 0) -> AsyncIterator[Streams]:
    """A connection of which every byte is the test's own. ``buffer`` is how many bytes wait unread, 0 for many."""
    port = int(api.address.rpartition(":")[2])
    with socket.socket() as plain:
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=tls, server_hostname="localhost", limit=max(buffer, 2**16)
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def alone(certificates: Certificates, **settings: Any) -> AsyncIterator[Streams]:
    """The connection to a server that nobody else needs."""
    tls = client_tls(certificates)
    async with serving(MemoryStore(), certificates, **settings) as api, connected(api, tls) as streams:
        yield streams


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; fails if it does not."""
    async with asyncio.timeout(60):
        try:
            return await reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, object]]:
    """Code and Status of one answer."""
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), orjson.loads(await reader.readexactly(length))


@pytest.mark.parametrize("sent", [b"", b"GET /readyz HTTP/1.1\r\n", b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-"])
async def test_a_request_whose_headers_do_not_come_is_not_waited_for(certificates: Certificates, sent: bytes) -> None:
    async with alone(certificates, header_timeout_seconds=0.2) as (reader, writer):
        writer.write(sent)
        assert await everything(reader) == b""


async def test_headers_that_come_letter_by_letter_do_not_prolong_the_time(certificates: Certificates) -> None:
    async with alone(certificates, header_timeout_seconds=0.2) as (reader, writer):
        drip = asyncio.create_task(_drip(writer))
        assert await everything(reader) == b""
        drip.cancel()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /readyz HTTP/1.1\r\nX-Slow: ")
    while True:
        await asyncio.sleep(0.05)
        writer.write(b"x")


async def test_a_connection_without_requests_is_closed_after_a_while(certificates: Certificates) -> None:
    async with alone(certificates, idle_timeout_seconds=0.3) as (reader, writer):
        writer.write(b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await everything(reader)).endswith(b"ok")


async def test_a_body_that_does_not_come_ends_the_request_in_time(certificates: Certificates) -> None:
    async with alone(certificates, request_timeout_seconds=0.3) as (reader, writer):
        writer.write(b"POST %b HTTP/1.1\r\n%bContent-Length: 100\r\n\r\n{" % (CONFIGMAPS.encode(), HOST))
        code, body = await answer(reader)
        assert (code, body["reason"]) == (504, "Timeout")
        assert body["message"] == (
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        )


async def test_a_request_may_ask_for_less_time_and_never_for_more(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, request_timeout_seconds=0.3) as api:
        for timeout in ("1ms", "1h"):
            async with connected(api, client_tls(certificates)) as (reader, writer):
                path = f"{CONFIGMAPS}?timeout={timeout}".encode()
                writer.write(b"POST %b HTTP/1.1\r\n%bContent-Length: 100\r\n\r\n{" % (path, HOST))
                assert (await answer(reader))[0] == 504
        refused = await api.get(f"{CONFIGMAPS}?timeout=soon")
        assert refused.code == 400
        assert "invalid timeout specified in the request URL" in refused.body["message"]


async def test_a_body_without_end_is_refused_when_it_is_too_long(certificates: Certificates) -> None:
    async with alone(certificates, maximum_body_bytes=100_000) as (reader, writer):
        writer.write(b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (CONFIGMAPS.encode(), HOST))
        for _ in range(20):
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await answer(reader))[0] == 413


async def test_a_client_that_does_not_read_a_list_is_cut_off_in_the_middle(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, stalled_timeout_seconds=0.3) as api:
        for number in range(12):
            await api.create(CONFIGMAPS, configmap(f"c{number}", x="y" * 900_000))
        async with connected(api, client_tls(certificates), buffer=4096) as (reader, writer):
            await _wait_beside(api)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (CONFIGMAPS.encode(), HOST))
            await _wait_alone(api)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await everything(reader)) < 10_000_000


async def test_a_watcher_that_does_not_read_is_cut_off(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, stalled_timeout_seconds=0.3) as api:
        async with connected(api, client_tls(certificates), buffer=4096) as (_, writer):
            await _wait_beside(api)
            writer.write(b"GET %b?watch=true HTTP/1.1\r\n%b\r\n" % (CONFIGMAPS.encode(), HOST))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(12):
                await api.create(CONFIGMAPS, configmap(f"c{number}", x="y" * 900_000))
            await _wait_alone(api)
        assert 'longrunning_requests{resource="configmaps"} 0.0' in (await api.get("/metrics")).body


@pytest.mark.parametrize("query", ["", "?watch=true"])
async def test_little_waits_for_a_client_that_does_not_read(certificates: Certificates, query: str) -> None:
    async with serving(MemoryStore(), certificates) as api:
        for number in range(100):
            await api.create(CONFIGMAPS, configmap(f"c{number}", x="y" * 100_000))
        async with connected(api, client_tls(certificates), buffer=4096) as (_, writer):
            await _wait_beside(api)
            [own, other] = api.server.connections
            assert isinstance(own, Connection) and isinstance(other, Connection)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET %b%b HTTP/1.1\r\n%b\r\n" % (CONFIGMAPS.encode(), query.encode(), HOST))
            async with asyncio.timeout(60):
                while not own.stalled_since and not other.stalled_since:
                    await asyncio.sleep(0.01)
            stalled = own if own.stalled_since else other
            transport = cast(asyncio.WriteTransport, stalled.transport)
            # The one piece that was too much: a piece ends with the object that fills it.
            assert transport.get_write_buffer_size() < UNSENT_BYTES + PIECE + 110_000


async def test_a_watch_ends_when_its_client_goes(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, watch_minimum_seconds=3600) as api:
        running = 'longrunning_requests{resource="configmaps"} '
        async with api.watch(CONFIGMAPS, "resourceVersion=1"):
            assert running + "1.0" in (await api.get("/metrics")).body
        async with asyncio.timeout(60):
            while running + "0.0" not in (await api.get("/metrics")).body:
                await asyncio.sleep(0.01)


async def _wait_beside(api: Api) -> None:
    """Return when the server has seen somebody beside the test's own client."""
    async with asyncio.timeout(60):
        while len(api.server.connections) < 2:
            await asyncio.sleep(0.01)


async def _wait_alone(api: Api) -> None:
    """Return when the server has cut off everybody but the test's own client."""
    async with asyncio.timeout(60):
        while len(api.server.connections) > 1:
            await asyncio.sleep(0.05)


async def test_a_list_that_takes_too_long_is_broken_off_and_not_continued_with_an_error(
    certificates: Certificates,
) -> None:
    async with serving(MemoryStore(), certificates, request_timeout_seconds=2) as api:
        for number in range(12):
            await api.create(CONFIGMAPS, configmap(f"c{number}", x="y" * 900_000))
        async with connected(api, client_tls(certificates), buffer=4096) as (reader, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (CONFIGMAPS.encode(), HOST))
            await asyncio.sleep(3)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            received = await everything(reader)
            assert b"HTTP/1.1 200" in received and b"Timeout" not in received and not received.endswith(b"]}")


async def test_headers_that_are_too_long_or_too_many_are_refused(api: Api, certificates: Certificates) -> None:
    for head in (
        b"GET /readyz HTTP/1.1\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\n" + b"X-Many: x\r\n" * 1000 + b"\r\n",
    ):
        async with connected(api, client_tls(certificates)) as (reader, writer):
            writer.write(head)
            code, body = await answer(reader)
            assert code in (400, 431) and body["kind"] == "Status"
            assert await everything(reader) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00", b"\x00" * 1000 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nA B: c\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_a_bad_request(api: Api, certificates: Certificates, sent: bytes) -> None:
    async with connected(api, client_tls(certificates)) as (reader, writer):
        writer.write(sent)
        if not sent.endswith(b"\r\n\r\n"):
            writer.write(b"\r\n\r\n")
        code, body = await answer(reader)
        assert (code, body["kind"], body["reason"]) == (400, "Status", "BadRequest")
    assert (await api.get("/readyz")).code == 200


async def test_connections_beyond_the_limit_are_closed_and_others_go_on(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, maximum_connections=3) as api, contextlib.AsyncExitStack() as open_:
        tls = client_tls(certificates)
        kept = [await open_.enter_async_context(connected(api, tls)) for _ in range(2)]
        async with connected(api, tls) as (reader, _):
            assert await everything(reader) == b""
        for _, writer in kept:
            writer.write(b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
        for reader, _ in kept:
            async with asyncio.timeout(60):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_request_that_is_pipelined_behind_others_is_answered(api: Api, certificates: Certificates) -> None:
    async with connected(api, client_tls(certificates)) as (reader, writer):
        writer.write((b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
        for _ in range(100):
            async with asyncio.timeout(60):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(2) == b"ok"
