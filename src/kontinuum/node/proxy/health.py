"""What load balancers ask a node: whether a Service has endpoints here, and whether we work at all.

Every Service with ``externalTrafficPolicy: Local`` has a port of its own for the first question
(``healthCheckNodePort``); the second is kube-proxy's ``/healthz``, beside which lie our figures in ``/metrics``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import structlog

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.clock import Clock, rfc3339

log = structlog.get_logger(__name__)

LONGEST_HEAD = 8192
HEAD_SECONDS = 10.0
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the histogram of changes, seconds."""

WEIGHT = "X-Load-Balancing-Endpoint-Weight"
"""The header in which a ``healthCheckNodePort`` says its number, for balancers that weigh nodes by it."""
LEAVING = "ToBeDeletedByClusterAutoscaler"
"""The taint of a node that the cluster's autoscaler is about to remove."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To one request."""

    code: HTTPStatus
    kind: str
    """The content's type."""
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self) -> bytes:
        headers = {
            "Content-Type": self.kind,
            "Content-Length": len(self.body.encode()),
            "X-Content-Type-Options": "nosniff",
            **self.headers,
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {self.code.value} {self.code.phrase}", *(f"{key}: {one}" for key, one in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True, slots=True)
class LocalService:
    """A Service that asks nodes to say how many of its endpoints they have."""

    namespace: str
    name: str
    endpoints: int


class HttpServer:
    """Answers GET for the paths that ``answer`` knows, one request a connection. No more is ever asked of us."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self, host: str | None, port: int) -> None:
        """Listen; ``host`` None means every address. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LONGEST_HEAD)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].decode("latin-1")
            method, path = [*line.split(" "), "", ""][:2]
            known = method in ("GET", "HEAD")
            answer = (
                self._answer(path.partition("?")[0])
                if known
                else Answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "")
            )
            writer.write(answer.head() + (b"" if method == "HEAD" else answer.body.encode()))
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # A client that does not finish its question, or does not wait for the answer.
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def local_answer(service: LocalService, *, is_healthy: bool) -> Answer:
    """kube-proxy's answer at a ``healthCheckNodePort``."""
    is_served = service.endpoints > 0 and is_healthy
    body = {
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": service.endpoints,
        "serviceProxyHealthy": is_healthy,
    }
    code = HTTPStatus.OK if is_served else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(code, "application/json", json.dumps(body, indent=1), {WEIGHT: str(service.endpoints)})


class LocalHealth:
    """One server for each ``healthCheckNodePort``."""

    def __init__(self, is_healthy: Callable[[], bool]) -> None:
        self._is_healthy = is_healthy
        self._services: dict[int, LocalService] = {}
        self._servers: dict[int, HttpServer] = {}

    async def show(self, services: Mapping[int, LocalService]) -> None:
        """From now on answer for ``services``, by port. A port that is taken is told in the log and tried again."""
        self._services = dict(services)
        for port in self._servers.keys() - services.keys():
            await self._servers.pop(port).stop()
        for port in services.keys() - self._servers.keys():
            server = HttpServer(partial(self._answer, port))
            try:
                await server.start(None, port)
            except OSError as error:
                one = services[port]
                log.error(
                    "a Service's health check cannot be served", service=f"{one.namespace}/{one.name}", error=str(error)
                )
                continue
            self._servers[port] = server

    async def close(self) -> None:
        await self.show({})

    def _answer(self, port: int, _: str) -> Answer:
        """The same on every path."""
        return local_answer(self._services[port], is_healthy=self._is_healthy())


def is_eligible(node: Object) -> bool:
    """Whether new connections should still be led to the node: not if it is about to go (KEP-3836)."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return "deletionTimestamp" not in node["metadata"] and not any(one["key"] == LEAVING for one in taints)


class Figures:
    """How long changes took, and when the last one was carried out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._failures = 0
        self.updated = clock.time()
        self.is_failing = False
        self.is_eligible = True
        """Of our node, see ``is_eligible``."""

    def done(self, seconds: float) -> None:
        self._counts[next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1
        self._sum += seconds
        self.updated, self.is_failing = self._clock.time(), False

    def failed(self) -> None:
        self._failures += 1
        self.is_failing = True

    def answer(self, path: str) -> Answer:
        """kube-proxy's ``/healthz``, ``/livez`` and ``/metrics``."""
        if path in ("/healthz", "/livez"):
            return self._health(is_asked_for_node=path == "/healthz")
        if path == "/metrics":
            return Answer(HTTPStatus.OK, "text/plain; version=0.0.4", self._metrics())
        return Answer(HTTPStatus.NOT_FOUND, "text/plain", "404: /healthz, /livez or /metrics\n")

    def _health(self, *, is_asked_for_node: bool) -> Answer:
        """``/healthz`` sends balancers away from a node that is about to go; ``/livez`` is about ourselves alone."""
        now, is_well = self._clock.time(), not self.is_failing and (self.is_eligible or not is_asked_for_node)
        body: dict[str, object] = {
            "lastUpdated": rfc3339(now if is_well else self.updated),
            "currentTime": rfc3339(now),
            **({"nodeEligible": self.is_eligible} if is_asked_for_node else {}),
            "healthy": not self.is_failing,
        }
        code = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(code, "application/json", json.dumps(body))

    def _metrics(self) -> str:
        name = "kubeproxy_sync_proxy_rules_duration_seconds"
        lines = [
            f"# HELP {name} Time from taking up a change until its rules are in force.",
            f"# TYPE {name} histogram",
        ]
        total = 0
        for bound, count in zip((*BUCKETS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"{name}_sum {self._sum}", f"{name}_count {total}"]
        failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"
        lines += [f"# HELP {failures} Changes that the kernel refused.", f"# TYPE {failures} counter"]
        return "\n".join([*lines, f"{failures} {self._failures}"]) + "\n"
