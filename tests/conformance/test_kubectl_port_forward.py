"""kubectl port-forward through the API server and a node to the runtime: old ones over SPDY, new over WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from tests.apiserver.serving import Api, make_certificates, serving
from tests.conformance.cluster import KUBECONFIG
from tests.kubectls import kubectl_parameters
from tests.node.fake_runtime import FakeRuntime

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation import spdy
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.node.observed import Observed, Sandbox
from kontinuum.node.server import NodeServer
from kontinuum.node.settings import NodeSettings
from kontinuum.store.memory import MemoryStore

POD: Object = {
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
}
PODS = "/api/v1/namespaces/default/pods"
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
)


class Streaming(FakeRuntime):
    """A runtime whose streaming server answers each connection to a port with what it was sent, in capitals."""

    url = ""
    asked: list[str]

    async def port_forward_url(self, sandbox_id: str, ports: list[int]) -> str:
        self.asked.append(sandbox_id)
        return self.url

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"upgrade: spdy/3.1" in head.lower() and b"x-stream-protocol-version" in head.lower()
        writer.write(AGREED)
        names_in, names_out = spdy.HeaderReader(), spdy.HeaderWriter()
        streams: dict[int, dict[str, str]] = {}
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                start = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(start[5:8]))
                if not start[0] & spdy.CONTROL:
                    stream = streams[int.from_bytes(start[:4])]
                    if stream["streamtype"] == "data" and body:
                        answer = f"{stream['port']} {body.decode().upper()}".encode()
                        writer.write(spdy.data_frame(int.from_bytes(start[:4]), answer))
                elif int.from_bytes(start[2:4]) == spdy.SYN_STREAM:
                    (number,) = struct.unpack_from(">I", body)
                    streams[number] = names_in.read(body[10:])
                    reply = struct.pack(">I", number) + names_out.block({})
                    writer.write(spdy.control_frame(spdy.SYN_REPLY, reply))
        writer.close()


@dataclass
class Known:
    pod: Object = field(default_factory=lambda: POD)
    observed: Observed = field(
        default_factory=lambda: Observed.of(
            [Sandbox("sandbox-1", "u", "default", "p", 0, is_ready=True, created_at=0.0)], []
        )
    )


@dataclass
class World:
    api: Api
    runtime: Streaming
    kubeconfig: Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = RealClock()
    certificates = make_certificates(tmp_path)
    authority = Authority.ensure(tmp_path, clock)
    own = authority.ensure_server("node-server", common_name="node", hosts=["127.0.0.1"])
    to_nodes = authority.ensure_client("to-nodes", user="kube-apiserver-kubelet-client")
    node = NodeSettings(
        listen="127.0.0.1:0", certificate=str(own.certificate), key=str(own.key), client_ca=str(authority.certificate)
    )
    runtime = Streaming(clock)
    runtime.asked = []
    streaming = await asyncio.start_server(runtime.serve, "127.0.0.1", 0)
    runtime.url = f"http://127.0.0.1:{streaming.sockets[0].getsockname()[1]}/portforward/token"
    pods = {("default", "p"): Known()}
    async with (
        NodeServer(node, runtime, clock, find_pod=lambda *key: pods.get(key)) as server,
        serving(
            MemoryStore(), certificates, node_client_certificate=to_nodes.certificate, node_client_key=to_nodes.key,
            node_ca=authority.certificate,
        ) as api,
    ):  # fmt: skip
        reported = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": server.port}}}  # fmt: skip
        assert (await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}, "status": reported})).code == 201
        assert (await api.create(PODS, POD)).code == 201
        assert (await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})).code == 200
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(
            KUBECONFIG.format(
                server=api.address, authority=certificates.authority, certificate=certificates.admin.certificate,
                key=certificates.admin.key,
            )
        )  # fmt: skip
        yield World(api, runtime, kubeconfig)
        streaming.close()


@contextlib.asynccontextmanager
async def forwarding(world: World, kubectl: Path, ports: str) -> AsyncIterator[int]:
    """The local port at which kubectl listens."""
    process = await asyncio.create_subprocess_exec(
        str(kubectl), f"--kubeconfig={world.kubeconfig}", "port-forward", "pod/p", ports,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("Forwarding from 127.0.0.1:"), line + (await process.stdout.read()).decode()
        yield int(line.split(":")[1].split(" ")[0])
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("kubectl", kubectl_parameters("little"))
async def test_connections_reach_the_pods_ports_and_answers_come_back(world: World, kubectl: Path) -> None:
    async with forwarding(world, kubectl, ":80") as port:
        for words in ("hello", "x" * 100_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(words.encode())
            received = b""
            async with asyncio.timeout(20):
                while received.count(b"H") + received.count(b"X") < (1 if words == "hello" else len(words)):
                    received += await reader.read(65536)
            assert received.startswith(f"80 {words.upper()}"[:8].encode())
            writer.close()
    assert set(world.runtime.asked) == {"sandbox-1"}


async def test_what_stands_in_the_way_is_said(world: World) -> None:
    plain = await world.api.create(f"{PODS}/p/portforward", {})
    assert (plain.code, plain.body["message"]) == (400, "Upgrade request required")
    other = {**POD, "metadata": {"name": "other", "namespace": "default"}}
    assert (await world.api.create(PODS, other)).code == 201
    answer = await world.api.call(
        "POST", f"{PODS}/other/portforward", connection="Upgrade", upgrade="SPDY/3.1"
    )  # fmt: skip
    assert answer.code == 404 and 'pod "other" not found in namespace "default"' in answer.body["message"]
    wrong = await world.api.call("POST", f"{PODS}/p/portforward?ports=http", connection="Upgrade", upgrade="SPDY/3.1")
    assert wrong.code == 400


async def test_a_client_that_goes_ends_the_way_to_the_runtime(world: World) -> None:
    url = f"{world.api.address}{PODS}/p/portforward".replace("https", "wss")
    session = world.api.session
    async with session.ws_connect(url, protocols=["SPDY/3.1+portforward.k8s.io"]) as socket:
        assert socket.protocol == "SPDY/3.1+portforward.k8s.io"
        ping = spdy.control_frame(spdy.SYN_STREAM, struct.pack(">IIH", 1, 0, 0) + spdy.HeaderWriter().block(
            {"streamtype": "data", "port": "80"}
        ))  # fmt: skip
        await socket.send_bytes(ping)
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.BINARY
