"""The HTTP transport against a real TLS server on loopback: identity, reuse, long lines, and every way to break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.status import ApiError, conflict
from kontinuum.client.connect import connect
from kontinuum.client.errors import Unreachable
from kontinuum.client.kubeconfig import Connection
from kontinuum.client.rest import Client
from kontinuum.client.transport.http import IDLE_SECONDS, HttpTransport
from kontinuum.client.transport.port import Request
from kontinuum.client.transport.wire import Connection as HttpConnection
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """What a request looked like to a real server, and what it is to answer."""

    connection: Connection
    handler: Handler
    users: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert") or {}
        subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
        self.users.append(subject.get("commonName", ""))
        self.ports.add(request.transport.get_extra_info("peername")[1])
        self.headers.append(dict(request.headers))
        return await self.handler(request)


@contextlib.asynccontextmanager
async def serving(directory: Path, handler: Handler) -> AsyncIterator[tuple[Server, Client]]:
    authority = Authority.ensure(directory, RealClock())
    pair = authority.ensure_server("server", common_name="server", hosts=["127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    tls.load_cert_chain(pair.certificate, pair.key)
    tls.verify_mode = ssl.CERT_OPTIONAL
    mine = authority.ensure_client("me", user="somebody")
    connection = Connection("", authority.certificate, mine.certificate.read_bytes(), mine.key.read_bytes())
    server = Server(connection, handler)
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    server.connection = replace(connection, server=f"https://127.0.0.1:{port}")
    client = connect(server.connection)
    try:
        yield server, client
    finally:
        await client.close()
        await runner.cleanup()


def answering(status: int, body: object) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

    return handler


async def test_the_client_certificate_is_shown_and_one_connection_serves_many_requests(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(200, {"metadata": {"name": "c"}})) as (server, client):
        for _ in range(5):
            await client.get(CONFIGMAPS, "c", namespace="default")
        assert server.users == ["somebody"] * 5
        assert len(server.ports) == 1


async def test_a_token_file_is_sent_as_it_is_now(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(200, {"metadata": {}})) as (server, _):
        token = tmp_path / "token"
        token.write_text("first\n")
        client = connect(replace(server.connection, client_certificate=None, token_file=str(token)))
        await client.get(CONFIGMAPS, "c", namespace="default")
        assert server.headers[-1]["Authorization"] == "Bearer first"
        assert server.users[-1] == ""
        await client.close()


async def test_a_status_becomes_the_error_it_describes(tmp_path: Path) -> None:
    status = conflict(CONFIGMAPS, "c").to_status()
    async with serving(tmp_path, answering(409, status)) as (_, client):
        with pytest.raises(ApiError) as caught:
            await client.get(CONFIGMAPS, "c", namespace="default")
        assert caught.value.is_conflict
        assert caught.value.to_status() == status


async def test_an_answer_that_is_no_status_is_an_error_with_its_text(tmp_path: Path) -> None:
    async def proxy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="bad gateway, says the proxy")

    async with serving(tmp_path, proxy) as (_, client):
        with pytest.raises(ApiError, match="says the proxy") as caught:
            await client.get(CONFIGMAPS, "c", namespace="default")
        assert caught.value.code == 502


async def test_a_watch_gives_events_as_they_come_and_lines_of_any_length(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    big = {"metadata": {"name": "big", "resourceVersion": "2"}, "data": {"x": "y" * 1_500_000}}

    async def watch(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true" and request.query["resourceVersion"] == "1"
        response = web.StreamResponse()
        await response.prepare(request)
        small = {"metadata": {"name": "small"}}
        await response.write(orjson.dumps({"type": "ADDED", "object": small}) + b"\n")
        await go_on.wait()
        await response.write(orjson.dumps({"type": "MODIFIED", "object": big}) + b"\n")
        return response

    async with serving(tmp_path, watch) as (_, client):
        names = []
        async for event in client.watch(CONFIGMAPS, resource_version="1"):
            names.append((event.type, event.object["metadata"]["name"]))
            go_on.set()
        assert names == [("ADDED", "small"), ("MODIFIED", "big")]


async def test_a_watch_that_breaks_in_the_middle_is_unreachable(tmp_path: Path) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ADDED", "obj')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(tmp_path, cut) as (_, client):
        with pytest.raises(Unreachable, match="talking to https://127"):
            async for _ in client.watch(CONFIGMAPS, resource_version="1"):
                pass


async def test_nobody_listening_and_a_stranger_listening_are_unreachable(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(200, {})) as (server, _):
        stranger = Authority.ensure(tmp_path / "other", RealClock()).certificate
        for connection in (
            replace(server.connection, server="https://127.0.0.1:1"),
            replace(server.connection, certificate_authority=stranger),
        ):
            client = connect(connection)
            with pytest.raises(Unreachable):
                await client.get(CONFIGMAPS, "c", namespace="default")
            await client.close()
        assert server.users == []


async def test_a_closed_client_opens_nothing_any_more(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(200, {"metadata": {}})) as (server, client):
        await client.get(CONFIGMAPS, "c", namespace="default")
        await client.close()
        with pytest.raises(Unreachable, match="this client is closed"):
            await client.get(CONFIGMAPS, "c", namespace="default")
        assert len(server.users) == 1


async def test_what_a_burst_has_opened_is_closed_soon_although_one_connection_is_always_used(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(200, {"metadata": {}})) as (_, client):
        transport = client._transport
        assert isinstance(transport, HttpTransport)
        await asyncio.gather(*(client.get(CONFIGMAPS, "c", namespace="default") for _ in range(5)))
        *others, used = transport._idle
        assert others and transport._open == {*others, used}
        await client.get(CONFIGMAPS, "c", namespace="default")
        assert transport._idle == [*others, used]
        for connection in others:
            connection.idle_since -= IDLE_SECONDS
        await client.get(CONFIGMAPS, "c", namespace="default")
        assert transport._open == {used} and not any(connection.is_open for connection in others)


async def test_a_connection_that_comes_when_nobody_wants_it_any_more_is_closed() -> None:
    """Cancelled in the moment in which it is made: else it would stay open, known to nobody."""
    made: list[asyncio.BaseTransport] = []

    async def late(protocol: asyncio.Protocol) -> None:
        there, here = socket.socketpair()
        with there:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=here)
            made.append(transport)
        raise asyncio.CancelledError

    transport = HttpTransport(Connection("http://127.0.0.1:1"), connect=late)
    with pytest.raises(asyncio.CancelledError):
        await transport.send(Request("GET", "/", {}))
    assert made[0].is_closing()
    await transport.close()


async def test_a_connection_whose_answer_came_as_it_was_given_up_is_closed() -> None:
    """Cancelled in the moment in which the answer is there: else it would stay open, known to nobody."""
    closed: list[str] = []
    asking: list[asyncio.Task[object]] = []

    class Wire(asyncio.Transport):
        def __init__(self, protocol: HttpConnection) -> None:
            super().__init__()
            self._protocol = protocol

        def write(self, data: bytes | bytearray | memoryview) -> None:
            asyncio.get_running_loop().call_soon(self._answer)

        def _answer(self) -> None:
            self._protocol.take_in(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            asking[0].cancel()

        def abort(self) -> None:
            closed.append("aborted")

    async def connect(protocol: asyncio.BufferedProtocol) -> None:
        assert isinstance(protocol, HttpConnection)
        protocol.connection_made(Wire(protocol))

    transport = HttpTransport(Connection("http://127.0.0.1:1"), connect=connect)
    asking.append(asyncio.create_task(transport.send(Request("GET", "/", {}))))
    with pytest.raises(asyncio.CancelledError):
        await asking[0]
    assert closed == ["aborted"]
    await transport.close()
