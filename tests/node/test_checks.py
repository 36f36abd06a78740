"""Probes' single checks against real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from aiohttp import web
from tests.node.fake_runtime import FakeRuntime

from kontinuum.foundation.clock import RealClock
from kontinuum.node.checks import Checker, CheckFailed, CheckImpossible, port_number
from kontinuum.node.port import Executed, RuntimeTimedOut

NAMED = {"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}


class Scripted(FakeRuntime):
    """Answers every command with ``outcome``."""

    outcome: Executed | Exception = Executed(0, b"", b"")

    async def execute(self, container_id: str, command: list[str], timeout: float) -> Executed:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        header = request.headers.get("X-Say", "")
        return web.Response(status=int(request.path.strip("/") or 200), text=header)

    application = web.Application()

    async def lead(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query.get("to", "/lead"))

    application.router.add_get("/lead", lead)
    application.router.add_get("/{code}", answer)
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


async def check(handler: dict[str, object], runtime: FakeRuntime | None = None) -> str:
    checker = Checker(runtime or FakeRuntime(RealClock()))
    return await checker.check(handler, NAMED, "c1", "127.0.0.1", 10)


async def test_a_page_is_well_between_200_and_399(port: int) -> None:
    for code in (200, 204, 302, 399):
        await check({"httpGet": {"port": port, "path": f"/{code}"}})
    for code in (400, 404, 503):
        with pytest.raises(CheckFailed, match=f"HTTP probe failed with statuscode: {code}"):
            await check({"httpGet": {"port": port, "path": f"/{code}"}})


async def test_redirects_are_followed_within_the_host_and_warned_of_beyond(port: int) -> None:
    assert await check({"httpGet": {"port": port, "path": "/lead?to=/204"}}) == ""
    with pytest.raises(CheckFailed, match="HTTP probe failed with statuscode: 503"):
        await check({"httpGet": {"port": port, "path": "/lead?to=/lead?to=/503"}})
    warning = await check({"httpGet": {"port": port, "path": "/lead?to=http://192.0.2.1/"}})
    assert warning.startswith("Probe terminated redirects, Response body: ")
    with pytest.raises(CheckFailed, match="stopped after 10 redirects"):
        await check({"httpGet": {"port": port, "path": "/lead"}})


async def test_a_closed_port_is_told_as_the_kubelet_tells_it(port: int) -> None:
    await check({"tcpSocket": {"port": port}})
    closed = closed_port()
    with pytest.raises(CheckFailed, match=f"^dial tcp 127.0.0.1:{closed}: connect: connection refused$"):
        await check({"tcpSocket": {"port": closed}})
    with pytest.raises(CheckFailed, match=f'^Get "http://127.0.0.1:{closed}/": dial tcp .*: connection refused$'):
        await check({"httpGet": {"port": closed}})


async def test_a_command_is_well_when_it_ends_with_0() -> None:
    runtime = Scripted(RealClock())
    await check({"exec": {"command": ["true"]}}, runtime)
    runtime.outcome = Executed(1, b"out", b"err")
    with pytest.raises(CheckFailed, match="outerr"):
        await check({"exec": {"command": ["false"]}}, runtime)
    runtime.outcome = RuntimeTimedOut("too long")
    with pytest.raises(CheckFailed, match=r'^command timed out: "sleep 100" timed out after 10s$'):
        await check({"exec": {"command": ["sleep", "100"]}}, runtime)


@contextlib.asynccontextmanager
async def health_server(**statuses: int) -> AsyncIterator[int]:
    """A gRPC server that answers health checks of the services it knows; the port."""

    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        service = request[2:].decode()
        if service not in statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([8, statuses[service]]) if statuses[service] else b""

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_grpc_server_is_well_when_it_says_that_it_serves() -> None:
    long = "s" * 100
    async with health_server(serving=1, broken=2, silent=0, **{long: 1}) as port:
        await check({"grpc": {"port": port, "service": "serving"}})
        await check({"grpc": {"port": port, "service": long}})
        for service, said in (("broken", '"NOT_SERVING"'), ("silent", '"UNKNOWN"'), ("other", "unknown service")):
            with pytest.raises(CheckFailed, match=said):
                await check({"grpc": {"port": port, "service": service}})


async def test_a_server_without_health_checks_and_none_at_all_are_unwell() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(CheckFailed, match="does not implement the grpc health protocol"):
        await check({"grpc": {"port": port}})
    await server.stop(None)
    with pytest.raises(CheckFailed, match="failed to connect service"):
        await check({"grpc": {"port": port}})


async def test_a_kind_of_probe_that_is_not_known_here_says_so() -> None:
    with pytest.raises(CheckFailed, match="no type that this node knows: telepathy"):
        await check({"telepathy": {}})


def test_a_port_may_be_named() -> None:
    assert port_number("web", NAMED) == 8080
    assert port_number("81", NAMED) == 81
    with pytest.raises(CheckImpossible, match='port "other" not found'):
        port_number("other", NAMED)
