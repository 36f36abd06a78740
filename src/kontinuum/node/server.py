"""The node's HTTPS server: what the API server asks a kubelet for (logs, exec, attach, pods, what they use).

Only the holder of a certificate of our own CA that says it is the API server, or an administrator, is answered:
whoever speaks here can run commands in every pod of the node.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote

import structlog
from aiohttp import web

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.addresses import listening_at, split_listen
from kontinuum.foundation.channels import PROTOCOLS, REFUSAL_HEADER, Wanted, bridge
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node import logs, node_logs, pods
from kontinuum.node.container_config import log_path
from kontinuum.node.observed import Container, ContainerState, Observed
from kontinuum.node.pages import Handler
from kontinuum.node.port import ContainerRuntime, NotThere, RuntimeAway
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.settings import NodeSettings
from kontinuum.node.streams import port_forward
from kontinuum.node.streams.inner_ports import WITH_OWN_STACK, InnerPorts
from kontinuum.node.streams.spdy import connected
from kontinuum.node.streams.starts import Starts

log = structlog.get_logger(__name__)

API_SERVER = "kube-apiserver-kubelet-client"
ADMINISTRATORS = "system:masters"
BACKLOG = 1024
"""Connections that may wait to be accepted: where hundreds of sessions begin at once, the kernel would let some of the
API server's calls wait for seconds."""
SHUTDOWN_SECONDS = 1.0
LONGEST_REFUSAL = 1000
"""Characters; encoded they have to fit among the headers, of which clients take 8 KiB."""


class KnownPod(Protocol):
    """A pod as its worker knows it."""

    pod: Object
    observed: Observed


class Answer(KontinuumError):
    """Ends the handling of a request with a status code and a sentence."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class NodeServer:
    """An async context manager; ``port`` is known inside it."""

    def __init__(
        self,
        settings: NodeSettings,
        runtime: ContainerRuntime,
        clock: Clock,
        *,
        find_pod: Callable[[str, str], KnownPod | None],
        pages: Mapping[str, Handler] = {},
    ) -> None:
        """``pages``: what is answered besides pods' logs and streams, by path."""
        self._settings = settings
        self._runtime = runtime
        self._clock = clock
        self._find_pod = find_pod
        self._pages = pages
        self._inner_ports = InnerPorts()
        self._starts = Starts()
        self.port = 0

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[_guarded])
        for path, handler in {
            "/healthz": self._health,
            **self._pages,
            "/containerLogs/{namespace}/{pod}/{container}": self._logs,
            "/exec/{namespace}/{pod}/{container}": self._exec,
            "/attach/{namespace}/{pod}/{container}": self._attach,
        }.items():
            application.router.add_get(path, handler)
        for method in ("GET", "POST"):
            application.router.add_route(method, "/portForward/{namespace}/{pod}", self._port_forward)
        self._runner = web.AppRunner(
            application, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        host, port = split_listen(self._settings.listens_at)
        site = web.TCPSite(
            self._runner,
            host or None,
            port,
            ssl_context=_tls(self._settings),
            backlog=BACKLOG,
        )
        with listening_at(self._settings.listens_at):
            await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        known, container = self._known(request)
        options = logs.LogOptions.of(request.query, self._clock.time())
        attempt = _attempt_for_logs(known, container, previous=options.previous)
        path = log_directory(self._settings, known.pod) / log_path(attempt.name, attempt.attempt)

        def is_over() -> bool:
            if request.transport is None or request.transport.is_closing():
                return True
            latest = known.observed.latest(container["name"])
            return latest is None or latest.id != attempt.id or not latest.is_running

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        if not path.exists():
            return web.Response(text="")
        await response.prepare(request)
        async for piece in logs.read(path, options, clock=self._clock, is_over=is_over):
            await response.write(piece)
        await response.write_eof()
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        known, container = self._known(request)
        wanted, command = _wanted(request), request.query.getall("command", [])
        if not command:
            raise Answer(400, "you must specify at least one command for the container")
        running = _running(known, container)
        _check_upgrade(request)
        begun = await self._starts.turn()
        try:
            url = await self._runtime.exec_url(running.id, command, wanted.as_cri())
            async with connected(url) as runtime:
                return await bridge(request, runtime, wanted, begun=begun)
        finally:
            begun()

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        known, container = self._known(request)
        # Whether there is a terminal was decided when the container was made.
        asked = _wanted(request)
        running = _running(known, container)
        _check_upgrade(request)
        tty = bool(container.get("tty"))
        wanted = Wanted(asked.stdin, asked.stdout, asked.stderr and not tty, tty)
        async with connected(await self._runtime.attach_url(running.id, wanted.as_cri())) as runtime:
            return await bridge(request, runtime, wanted)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        sandbox = self._known_pod(request).observed.sandbox
        if sandbox is None or not sandbox.is_ready:
            raise Answer(404, f'pod "{request.match_info["pod"]}" is not running')
        if "Upgrade" not in request.headers:
            raise Answer(400, "ports are forwarded over SPDY/3.1 or a WebSocket")
        ports = request.query.getall("port", [])
        if not all(port.isdecimal() for port in ports):
            raise Answer(400, f"no port numbers: {', '.join(ports)}")
        async with AsyncExitStack() as stack:
            if sandbox.handler in WITH_OWN_STACK and sandbox.ips:
                namespace = Path(await self._runtime.network_namespace(sandbox.id))
                try:
                    await stack.enter_async_context(self._inner_ports.reachable(namespace, sandbox.ips[0]))
                except (OSError, KontinuumError) as error:
                    raise Answer(500, f"leading forwarded ports to the pod: {error}") from error
            url = await self._runtime.port_forward_url(sandbox.id, [int(port) for port in ports])
            return await port_forward.carry(request, url, ports)

    def _known_pod(self, request: web.Request) -> KnownPod:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        known = self._find_pod(namespace, name)
        if known is None:
            raise Answer(404, f'pod "{name}" not found in namespace "{namespace}"')
        return known

    def _known(self, request: web.Request) -> tuple[KnownPod, Object]:
        known = self._known_pod(request)
        container = pods.find_container(known.pod, request.match_info["container"])
        if container is None:
            name = request.match_info["pod"]
            raise Answer(404, f"container {request.match_info['container']} is not valid for pod {name}")
        return known, container


def _wanted(request: web.Request) -> Wanted:
    wanted = Wanted.of(request.query)
    if wanted.is_empty:
        raise Answer(400, "you must specify at least 1 of stdin, stdout, stderr")
    return wanted


def _check_upgrade(request: web.Request) -> None:
    """Before the runtime is asked: what it prepares would begin, and nobody would listen.

    After every other refusal: the API server asks again without an upgrade to learn why it was refused.
    """
    if not web.WebSocketResponse(protocols=PROTOCOLS).can_prepare(request):
        raise Answer(400, "exec and attach are spoken over a WebSocket")


def _running(known: KnownPod, container: Object) -> Container:
    current = known.observed.current(container["name"])
    if current is None or not current.is_running:
        raise Answer(404, f'container not found ("{container["name"]}")')
    return current


def _attempt_for_logs(known: KnownPod, container: Object, *, previous: bool) -> Container:
    """The attempt whose log is meant. The refusals are the kubelet's."""
    name, pod_name = container["name"], known.pod["metadata"]["name"]
    attempts = known.observed.attempts(name)
    if previous:
        ended = [one for one in attempts if one.has_exited]
        # While it waits to run again, its last end is already the previous one.
        candidates = ended[1:] if attempts and attempts[0].has_exited and not _waits(known, name) else ended
        if not candidates:
            raise Answer(400, f'previous terminated container "{name}" in pod "{pod_name}" not found')
        return candidates[0]
    if not attempts or attempts[0].state is ContainerState.CREATED:
        reason = _waiting_reason(known, name) or "ContainerCreating"
        word = "trying and failing to pull image" if "Image" in reason else f"waiting to start: {reason}"
        raise Answer(400, f'container "{name}" in pod "{pod_name}" is {word}')
    return attempts[0]


def _waits(known: KnownPod, name: str) -> bool:
    return bool(_waiting_reason(known, name))


def _waiting_reason(known: KnownPod, name: str) -> str:
    status: Object = known.pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if one["name"] == name:
            return str((one["state"].get("waiting") or {}).get("reason") or "")
    return ""


@web.middleware
async def _guarded(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Who may, and what the answer to a failure is."""
    certificate = request.get_extra_info("peercert")
    if request.path != "/healthz" and not may_enter(certificate):
        return _refused(403, "Forbidden")
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except Answer as refusal:
        return _refused(refusal.code, refusal)
    except (logs.BadOptions, node_logs.BadQuery) as error:
        return _refused(400, error)
    except (NotThere, node_logs.NoSuchLog) as error:
        return _refused(404, error)
    except RuntimeAway as error:
        return _refused(503, error)
    except KontinuumError as error:
        log.warning("a request failed", path=request.path, error=str(error))
        return _refused(500, error)
    except (ConnectionResetError, BrokenPipeError):
        # The client went away in the middle of a stream; there is nobody to answer.
        return web.Response(status=499)


def _refused(code: int, why: object) -> web.Response:
    headers = {REFUSAL_HEADER: quote(str(why)[:LONGEST_REFUSAL], safe=" ")}
    return web.Response(status=code, text=str(why), headers=headers)


def may_enter(certificate: Mapping[str, Any] | None) -> bool:
    """Whether the certificate (as ``ssl.SSLSocket.getpeercert`` tells it) is the API server's or an administrator's."""
    names = [pair for part in (certificate or {}).get("subject", ()) for pair in part]
    return ("commonName", API_SERVER) in names or ("organizationName", ADMINISTRATORS) in names


def _tls(settings: NodeSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate, settings.key)
    context.load_verify_locations(settings.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
