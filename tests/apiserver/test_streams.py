"""Logs, exec and attach are relayed to the pod's node as they come; a node that is away is a clear error."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, WSMsgType, WSServerHandshakeError, web

from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import spdy
from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.apiserver.streams import LARGEST_MESSAGE, container_of, log_query
from kontinuum.foundation.channels import REFUSAL_HEADER
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.foundation.spdy_client import SpdyConnection
from kontinuum.foundation.takeover import Taken, take_over, upgraded
from kontinuum.store.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"
WAITING = 'container "waiting" in pod "both" is waiting to start: PodInitializing'
CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


@dataclass
class Node:
    """A node's server that remembers what it was asked, echoes on exec and writes two lines of log."""

    asked: list[str] = field(default_factory=list)
    callers: list[Any] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    close_code: int = 0

    async def logs(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.callers.append(request.get_extra_info("peercert"))
        if request.match_info["container"] == "waiting":
            return web.Response(status=400, text=WAITING)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await self.more.wait()
        await response.write(b"second\n")
        return response

    async def exec(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if "missing" in request.query.getall("command"):
            return web.Response(status=404, text="container not found")
        if "late" in request.query.getall("command"):
            # Asked again, without an upgrade, it would have another answer.
            return web.Response(status=500, headers={REFUSAL_HEADER: "container is in state %22EXITED%22"})
        if "kubelet" in request.query.getall("command"):
            return web.Response(status=403)
        socket = web.WebSocketResponse(protocols=CHANNELS)
        await socket.prepare(request)
        async for message in socket:
            if message.data == b"\x00exit":
                break
            await socket.send_bytes(b"\x01" + message.data)
        else:
            self.close_code = socket.close_code or 0
        await socket.close(code=1000)
        return socket

    async def exec_by_spdy(self, request: web.Request) -> web.StreamResponse:
        """A kubelet's: says again what it hears, in capitals, until the input ends."""
        self.asked.append(request.path_qs)
        if "forbidden" in request.query.getall("command"):
            return web.Response(status=403, text="Forbidden (user=kubernetes, verb=create)")
        assert request.headers.getall("X-Stream-Protocol-Version")[0] == spdy.PROTOCOL
        reader, writer = take_over(request, spdy.SWITCHING)
        client = spdy.SpdyConnection(reader, writer)
        reading = asyncio.create_task(client.run())
        await client.wait_streams(["error", "stdin", "stdout"])
        while (arrived := await client.arrived.get())[1] is not None:
            await client.write("stdout", arrived[1].upper())
        await client.write("error", b'{"status":"Success"}')
        await client.close_streams()
        await reading
        return Taken()


@dataclass
class World:
    node: Node
    session: ClientSession
    address: str

    def websocket(self, query: str, *protocols: str) -> Any:
        url = f"{self.address}{PODS}/web/exec?{query}".replace("https", "wss")
        return self.session.ws_connect(url, protocols=protocols or CHANNELS)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    authority = Authority.ensure(tmp_path, RealClock())
    serving = authority.ensure_server("server", common_name="server", hosts=["127.0.0.1"])
    to_nodes = authority.ensure_client("to-nodes", user="kube-apiserver-kubelet-client", groups=["system:masters"])
    node = Node()
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", node.logs)
    application.router.add_get("/exec/{namespace}/{pod}/{container}", node.exec)
    application.router.add_post("/exec/{namespace}/{pod}/{container}", node.exec_by_spdy)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(serving.certificate, serving.key)
    tls.load_verify_locations(authority.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    settings = ServerSettings(
        listen="127.0.0.1:0",
        certificate=serving.certificate,
        key=serving.key,
        client_ca=authority.certificate,
        node_client_certificate=to_nodes.certificate,
        node_client_key=to_nodes.key,
        node_ca=authority.certificate,
    )
    server = ApiServer(MemoryStore(), settings, RealClock())
    await server.start()
    client_tls = ssl.create_default_context(cafile=str(authority.certificate))
    client_tls.load_cert_chain(to_nodes.certificate, to_nodes.key)
    async with ClientSession(connector=TCPConnector(ssl=client_tls)) as session:
        made = World(node, session, server.address)
        await make_objects(made, port=runner.addresses[0][1])
        yield made
    await server.stop()
    await runner.cleanup()


async def make_objects(world: World, *, port: int) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await post(world, "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await post(world, "/api/v1/nodes", {"metadata": {"name": "n1"}, "status": status})
    await post(world, "/api/v1/nodes", {"metadata": {"name": "silent"}})
    away = {**status, "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    await post(world, "/api/v1/nodes", {"metadata": {"name": "away"}, "status": away})
    one, two = [{"name": "c", "image": "i"}], [{"name": "c", "image": "i"}, {"name": "waiting", "image": "i"}]
    for name, node, containers in (
        ("web", "n1", one), ("both", "n1", two), ("new", "", one), ("far", "away", one), ("mute", "silent", one),
        ("lost", "nowhere", one),
    ):  # fmt: skip
        await post(world, PODS, {"metadata": {"name": name}, "spec": {"containers": containers, "nodeName": node}})


async def post(world: World, path: str, obj: Any) -> None:
    async with world.session.post(world.address + path, json=obj) as answer:
        assert answer.status == 201, await answer.text()


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": ", ".join(CHANNELS),
}  # fmt: skip


async def get(world: World, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with world.session.get(world.address + path, headers=headers) as answer:
        if answer.content_type == "application/json":
            return answer.status, (await answer.json())["message"]
        return answer.status, await answer.text()


async def test_a_log_arrives_as_it_is_written(world: World) -> None:
    async with world.session.get(f"{world.address}{PODS}/web/log?follow=true&tailLines=5") as answer:
        assert answer.content_type == "text/plain"
        assert await answer.content.readline() == b"first\n"
        world.node.more.set()
        assert await answer.content.readline() == b"second\n"
        assert await answer.content.read() == b""
    assert world.node.asked == ["/containerLogs/default/web/c?follow=true&tailLines=5"]
    names = dict(pair for part in world.node.callers[0]["subject"] for pair in part)
    assert names["commonName"] == "kube-apiserver-kubelet-client"


@pytest.mark.parametrize("protocol", ["binary.k8s.io", "base64.binary.k8s.io"])
async def test_a_log_is_had_over_a_websocket_too(world: World, protocol: str) -> None:
    url = f"{world.address}{PODS}/web/log?follow=true"
    async with world.session.ws_connect(url, protocols=[protocol]) as socket:
        assert socket.protocol == protocol
        first = await socket.receive()
        text = base64.b64decode(first.data) if first.type is WSMsgType.TEXT else first.data
        assert text == b"first\n"
        world.node.more.set()
        assert (await socket.receive()).type is first.type
        assert (await socket.receive()).type is WSMsgType.CLOSE


async def test_whoever_stops_reading_a_log_over_a_websocket_is_let_go(world: World) -> None:
    async with world.session.ws_connect(f"{world.address}{PODS}/web/log?follow=true") as socket:
        assert (await socket.receive()).data == b"first\n"
        await socket.close()
    world.node.more.set()


async def test_frames_pass_both_ways_under_the_protocol_that_the_node_chose(world: World) -> None:
    async with world.websocket("command=sh&command=-c&command=a%20b&stdin=true&container=c") as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        await socket.send_bytes(b"\x00hello")
        assert (await socket.receive(timeout=30)).data == b"\x01\x00hello"
        await socket.send_bytes(b"\x00" + b"x" * 100_000)
        assert len((await socket.receive(timeout=30)).data) == 100_002
        await socket.send_bytes(b"\x00exit")
        assert (await socket.receive(timeout=30)).type is WSMsgType.CLOSE
    assert world.node.asked == ["/exec/default/web/c?command=sh&command=-c&command=a+b&input=1"]
    async with world.websocket("command=sh", "v4.channel.k8s.io") as socket:
        assert socket.protocol == "v4.channel.k8s.io"


KUBELET = "command=kubelet&stdin=1&stdout=1&container=c"


async def test_a_kubelet_is_spoken_to_in_streams_and_in_its_own_words(world: World) -> None:
    async with world.websocket(KUBELET, "v5.channel.k8s.io") as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        await socket.send_bytes(b"\x00hello")
        assert (await socket.receive(timeout=30)).data == b"\x01HELLO"
        await socket.send_bytes(b"\xff\x00")
        assert (await socket.receive(timeout=30)).data == b'\x03{"status":"Success"}'
        assert (await socket.receive(timeout=30)).type is WSMsgType.CLOSE
    assert world.node.asked[-1] == "/exec/default/web/c?command=kubelet&input=1&output=1"


async def test_streams_pass_to_a_kubelet_as_they_come(world: World) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": spdy.PROTOCOL}
    async with world.session.post(f"{world.address}{PODS}/web/exec?{KUBELET}", headers=headers) as answer:
        assert answer.status == 101
        async with SpdyConnection(*upgraded(answer)) as connection:
            error, stdin, stdout = [await connection.open_stream(kind) for kind in ("error", "stdin", "stdout")]
            await stdin.write(b"hello")
            await stdin.close_write()
            assert (await stdout.read_all(), await error.read_all()) == (b"HELLO", b'{"status":"Success"}')


async def test_what_a_kubelet_forbids_is_told(world: World) -> None:
    query = f"{KUBELET}&command=forbidden"
    with pytest.raises(WSServerHandshakeError, match="500"):
        await world.websocket(query, "v5.channel.k8s.io")


async def test_a_message_without_end_closes_the_connection(world: World) -> None:
    async with world.websocket("command=sh&stdin=true&container=c") as socket:
        await socket.send_bytes(b"\x00" + b"x" * (LARGEST_MESSAGE + 1))
        message = await socket.receive(timeout=10)
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff", b"\x83\x80\x00\x00\x00\x00", b"\x82\xff" + b"\xff" * 8 + b"\x00" * 4,
        b"\x89\xfe\x01\x00" + b"\x00" * 260, b"\x00\x80" + b"\x00" * 4, b"\xc2\x80" + b"\x00" * 4,
    ],
)  # fmt: skip
async def test_frames_that_are_none_close_the_connection(world: World, frame: bytes) -> None:
    async with world.websocket("command=sh&stdin=true&container=c") as socket:
        transport = socket._response.connection.transport  # type: ignore[union-attr]
        transport.write(frame)
        message = await socket.receive(timeout=10)
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR)


async def test_a_client_that_leaves_closes_the_nodes_side_too(world: World) -> None:
    socket = await world.websocket("command=sh")
    await socket.close(code=1000)
    async with asyncio.timeout(30):
        while not world.node.close_code:
            await asyncio.sleep(0.01)
    assert world.node.close_code == 1000


async def test_the_nodes_refusals_reach_the_client(world: World) -> None:
    assert await get(world, f"{PODS}/both/log?container=waiting") == (400, WAITING)
    with pytest.raises(WSServerHandshakeError) as caught:
        await world.websocket("command=missing")
    assert caught.value.status == 404
    code, why = await get(world, f"{PODS}/web/exec?command=late", UPGRADE)
    assert (code, why) == (500, 'Internal error occurred: container is in state "EXITED"')
    assert len([asked for asked in world.node.asked if "late" in asked]) == 1


@pytest.mark.parametrize(
    ("pod", "code", "words"),
    [
        ("new", 400, "pod new does not have a host assigned"),
        ("lost", 404, 'nodes "nowhere" not found'),
        ("mute", 503, 'node "silent" has not reported where its server listens'),
        ("far", 500, "error dialing backend: 127.0.0.1:1: "),
        ("both", 400, "a container name must be specified for pod both, choose one of: [c waiting]"),
        ("none", 404, 'pods "none" not found'),
    ],
)
async def test_what_stands_in_the_way_of_a_log_is_said(world: World, pod: str, code: int, words: str) -> None:
    found = await get(world, f"{PODS}/{pod}/log")
    assert found[0] == code
    assert words in found[1]


async def test_exec_without_an_upgrade_is_a_bad_request(world: World) -> None:
    code, words = await get(world, f"{PODS}/web/exec?command=sh")
    assert code == 400
    assert "WebSocket" in words


def test_log_options_are_checked_before_the_node_is_asked() -> None:
    assert log_query({"tailLines": "0", "follow": "true", "pretty": "x"}) == "follow=true&tailLines=0"
    for query, code in (({"tailLines": "-1"}, 422), ({"limitBytes": "0"}, 422), ({"tailLines": "many"}, 400),
                        ({"stream": "Stdout"}, 422),
                        ({"sinceSeconds": "5", "sinceTime": "2026-01-01T00:00:00Z"}, 422)):  # fmt: skip
        with pytest.raises(ApiError) as caught:
            log_query(query)
        assert caught.value.code == code


def test_init_containers_can_be_named_but_are_never_assumed() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}}
    assert container_of(pod, "i") == "i"
    with pytest.raises(ApiError, match=r"choose one of: \[a\] or one of the init containers: \[i\]"):
        container_of(pod, "")
    with pytest.raises(ApiError, match="container z is not valid for pod p"):
        container_of(pod, "z")
