"""kubectl exec, attach and logs through the API server: old ones over SPDY, new ones over WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from tests.apiserver.serving import Certificates, make_certificates, serving
from tests.conformance.cluster import KUBECONFIG
from tests.kubectls import ENVIRONMENT, kubectl_parameters

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.memory import MemoryStore

NODE = """
apiVersion: v1
kind: Node
metadata: {{name: n1}}
status:
  addresses: [{{type: InternalIP, address: 127.0.0.1}}]
  daemonEndpoints: {{kubeletEndpoint: {{Port: {port}}}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
"""
EXIT_7 = {
    "status": "Failure",
    "reason": "NonZeroExitCode",
    "message": "command terminated with non-zero exit code",
    "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
}
LARGE = "x" * 300_000


async def run_command(request: web.Request) -> web.StreamResponse:
    """``shout`` answers its input in capitals, ``fail`` ends with 7, ``flood`` writes a lot."""
    socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io", "v4.channel.k8s.io"], max_msg_size=0)
    await socket.prepare(request)
    verdict: dict[str, object] = {"status": "Success"}
    match request.query.get("command"):
        case "shout":
            async for message in socket:
                if message.data == b"\xff\x00":
                    break
                if message.data[0] == 0:
                    await socket.send_bytes(b"\x01" + message.data[1:].upper())
        case "fail":
            await socket.send_bytes(b"\x02oops\n")
            verdict = EXIT_7
        case _:
            await socket.send_bytes(b"\x01" + LARGE.encode())
    await socket.send_bytes(b"\x03" + json.dumps(verdict).encode())
    await socket.close()
    return socket


async def write_log(request: web.Request) -> web.StreamResponse:
    return web.Response(text="one\ntwo\n")


@contextlib.asynccontextmanager
async def node(directory: Path, certificates: Certificates) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/exec/default/p/c", run_command)
    application.router.add_get("/containerLogs/default/p/c", write_log)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server.certificate, certificates.server.key)
    tls.load_verify_locations(certificates.authority)
    tls.verify_mode = ssl.CERT_REQUIRED
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def kubectl(program: Path, home: Path, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"KUBECONFIG": str(home / "kubeconfig"), "HOME": str(home), **ENVIRONMENT},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def story(program: Path, home: Path) -> None:
    certificates = make_certificates(home)
    to_nodes = Authority.ensure(home, RealClock()).ensure_client("to-nodes", user="kube-apiserver-kubelet-client")
    async with (
        node(home, certificates) as port,
        serving(
            MemoryStore(),
            certificates,
            node_client_certificate=to_nodes.certificate,
            node_client_key=to_nodes.key,
            node_ca=certificates.authority,
        ) as api,
    ):
        text = KUBECONFIG.format(
            server=api.address,
            authority=certificates.authority,
            certificate=certificates.admin.certificate,
            key=certificates.admin.key,
        )
        (home / "kubeconfig").write_text(text)
        manifest = NODE.format(port=port) + "---" + POD
        code, _, problem = await kubectl(program, home, "create", "-f", "-", stdin=manifest)
        assert code == 0, problem
        assert await kubectl(program, home, "logs", "p") == (0, "one\ntwo\n", "")
        assert await kubectl(program, home, "exec", "-i", "p", "--", "shout", stdin="hello\n") == (0, "HELLO\n", "")
        code, out, problem = await kubectl(program, home, "exec", "p", "--", "fail")
        assert (code, out) == (7, "")
        assert problem.startswith("oops\n")
        assert (await kubectl(program, home, "exec", "p", "--", "flood"))[1] == LARGE
        assert "HELLO" in (await kubectl(program, home, "exec", "-i", "p", "--", "shout", stdin="hello" * 40_000))[1]


@pytest.mark.parametrize("program", kubectl_parameters("little"))
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_commands_run_with_their_input_output_and_exit_code(program: Path, loop: object, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(story(program, tmp_path))
