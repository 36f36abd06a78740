"""What one API server does in a second: creates, gets, patches, lists and watches over TLS from 16 connections.

The load is made by one process, with a client so small that it costs a tenth of what it measures. Everything happens
in a namespace of its own, which is deleted afterwards.

    python -m benchmarks.api [--kubeconfig FILE] [--seconds 3] [--pods 5000]

Any API server will do; without ``--kubeconfig`` a Kontinuum of its own is brought up and thrown away.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import orjson
import uvloop

from benchmarks import report
from benchmarks.installation import fresh
from kontinuum.client import kubeconfig

CONNECTIONS = 16
NAMESPACE = f"benchmark-{os.getpid()}"
ROOT = f"/api/v1/namespaces/{NAMESPACE}"
MERGE = "application/merge-patch+json"
MADE_AT_ONCE = 64


class Wire:
    """One keep-alive connection that speaks just enough HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self, method: str, path: str, body: bytes = b"", media: str = "application/json") -> bytes:
        """The reply's body. Raises RuntimeError unless the answer is a success."""
        head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nAccept: application/json\r\n"
        if body:
            head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        lowered = headers.lower()
        if b"content-length: " not in lowered:
            raise RuntimeError(f"{method} {path}: the reply has no length: {headers!r}")
        length = int(lowered.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        content = await self._reader.readexactly(length)
        if headers[9:10] != b"2":
            raise RuntimeError(f"{method} {path}: {headers.splitlines()[0]!r} {content[:200]!r}")
        return content

    async def watch(self, path: str, count: int) -> None:
        """Open a watch and return when ``count`` events have come."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: api\r\n\r\n".encode())
        await self._reader.readuntil(b"\r\n\r\n")
        while count > 0:
            count -= (await self._reader.read(1 << 20)).count(b'{"type":"')

    def close(self) -> None:
        self._writer.close()


class Server:
    """Where the connections go."""

    def __init__(self, connection: kubeconfig.Connection) -> None:
        address = urlsplit(connection.server)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 443
        tls = connection.tls_context()
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None

    async def open(self) -> Wire:
        return Wire(*await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=1 << 22))


def pod(name: str) -> bytes:
    """A pod of about the size that real ones have."""
    environment = [{"name": f"VARIABLE_{number}", "value": "a value of some length" * 2} for number in range(12)]
    container = {
        "name": "main",
        "image": "registry.example.com/team/service:1.2.3",
        "env": environment,
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }
    labels = {"app.kubernetes.io/name": "service", "app.kubernetes.io/instance": name, "tier": "web"}
    return orjson.dumps({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}})


Call = Callable[[Wire, int], Awaitable[bytes]]
"""One request; the number counts all requests of a workload."""


async def rate(name: str, wires: list[Wire], seconds: float, call: Call, *, reach: float | None = None) -> int:
    """Call as often as possible for ``seconds`` and print the rate; returns how many calls there were."""
    numbers: Iterator[int] = itertools.count()
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def work(wire: Wire) -> None:
        while (began := time.perf_counter()) < end:
            await call(wire, next(numbers))
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(work(wire) for wire in wires))
    per_second = len(took) / seconds
    verdict = "" if reach is None else f"  reach ≥ {reach:g}/s: {'held' if per_second >= reach else 'NOT YET HELD'}"
    p50, p99 = (report.percentile(took, share) * 1000 for share in (0.5, 0.99))
    print(f"{name}: {per_second:,.0f}/s  (p50 {p50:.2f} ms, p99 {p99:.2f} ms, n={len(took)}){verdict}", flush=True)
    return len(took)


async def writes_and_reads(wires: list[Wire], seconds: float) -> None:
    body = orjson.dumps({"data": {"key": "value " * 20}})[1:-1]

    def configmap(number: int) -> bytes:
        return b'{"metadata":{"name":"c%d"},%b}' % (number, body)

    made = await rate(
        "create a ConfigMap (durable)", wires, seconds,
        lambda wire, n: wire.call("POST", f"{ROOT}/configmaps", configmap(n)), reach=2000,
    )  # fmt: skip
    await rate(
        "get a ConfigMap", wires, seconds,
        lambda wire, n: wire.call("GET", f"{ROOT}/configmaps/c{n % made}"), reach=8000,
    )  # fmt: skip
    await rate(
        "merge-patch a ConfigMap", wires, seconds,
        lambda wire, n: wire.call(
            "PATCH", f"{ROOT}/configmaps/c{n % made}", b'{"data":{"n":"%d"}}' % n, MERGE
        ),
    )  # fmt: skip


async def lists(wires: list[Wire], pods: int) -> None:
    numbers = iter(range(pods))

    async def fill(wire: Wire) -> None:
        for number in numbers:
            await wire.call("POST", f"{ROOT}/pods", pod(f"pod-{number:05}"))

    began = time.perf_counter()
    await asyncio.gather(*(fill(wire) for wire in wires))
    print(f"create a pod (durable): {pods / (time.perf_counter() - began):,.0f}/s  (n={pods})", flush=True)
    took = []
    for _ in range(10):
        began = time.perf_counter()
        content = await wires[0].call("GET", f"{ROOT}/pods")
        took.append((time.perf_counter() - began) * 1000)
    report.figure(f"list {pods} pods ({len(content) / 1e6:.1f} MB)", took, unit="ms", reach=60)


async def watches(server: Server, wires: list[Wire], watchers: int, changes: int) -> None:
    """How many events a second reach ``watchers`` watches of the same objects."""
    listed = orjson.loads(await wires[0].call("GET", f"{ROOT}/configmaps?limit=1"))
    since = listed["metadata"]["resourceVersion"]
    watching = [await server.open() for _ in range(watchers)]
    path = f"{ROOT}/configmaps?watch=true&resourceVersion={since}"
    began = time.perf_counter()
    reading = [asyncio.create_task(wire.watch(path, changes)) for wire in watching]
    numbers = iter(range(changes))

    async def change(wire: Wire) -> None:
        for number in numbers:
            await wire.call("PATCH", f"{ROOT}/configmaps/c{number % 500}", b'{"data":{"w":"%d"}}' % number, MERGE)

    await asyncio.gather(*(change(wire) for wire in wires))
    await asyncio.gather(*reading)
    took = time.perf_counter() - began
    print(f"watch: {watchers * changes / took:,.0f} events/s to {watchers} watchers, {changes / took:,.0f} changes/s")
    for wire in watching:
        wire.close()


async def main(arguments: argparse.Namespace) -> None:
    if arguments.kubeconfig:
        await measure(arguments)
        return
    async with fresh() as installation:
        arguments.kubeconfig = installation.data_dir / "kubeconfig"
        await measure(arguments)


async def measure(arguments: argparse.Namespace) -> None:
    report.machine(f"one API server, {CONNECTIONS} connections, TLS, {arguments.seconds:g} s each")
    server = Server(kubeconfig.load(arguments.kubeconfig))
    wires = [await server.open() for _ in range(CONNECTIONS)]
    await wires[0].call("POST", "/api/v1/namespaces", orjson.dumps({"metadata": {"name": NAMESPACE}}))
    try:
        await writes_and_reads(wires, arguments.seconds)
        await watches(server, wires, 50, 2000)
        await lists(wires, arguments.pods)
    finally:
        for collection in ("pods", "configmaps"):
            await wires[0].call("DELETE", f"{ROOT}/{collection}")
        await wires[0].call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        for wire in wires:
            wire.close()
    report.machine("load at the end")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pods", type=int, default=5000)
    uvloop.run(main(parser.parse_args()))
