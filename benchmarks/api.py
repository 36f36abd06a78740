"""What one API server does in a second, over TLS from 16 connections, with pods of 2 KB (3.6 KB as they are stored).

The load is made by one process, with a client so small that it costs a tenth of what it measures (``benchmarks.wire``).
Everything happens in a namespace of its own, which is deleted afterwards.

    python -m benchmarks.api [--kubeconfig FILE] [--seconds 5] [--pods 20000]
    python -m benchmarks.api --bare     # the same without authentication, authorization, admission and managedFields

Beside a rate stands what each request has cost the server in CPU: the figure to compare where the machine is busy with
other things. Any API server will do. Without ``--kubeconfig`` a Kontinuum API server of its own is started with its
default settings (authentication, RBAC, admission and managedFields are on; nothing else runs); its memory and restart
are measured too. Beside each figure stands what was measured on Kubernetes 1.36 (kube-apiserver and etcd 3.6 on such a
machine).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import uvloop

from benchmarks import report
from benchmarks.installation import ServerAlone, processor_seconds, server_alone
from benchmarks.wire import MERGE, Address, Wire
from kontinuum.client import kubeconfig

CONNECTIONS = 16
NAMESPACE = f"benchmark-{os.getpid()}"
ROOT = f"/api/v1/namespaces/{NAMESPACE}"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LISTED = 5000
WATCHERS = 100
BURST = 200


def pod(name: str) -> bytes:
    """A pod of about the size that real ones have: 2 KB once its defaults are there."""
    environment = [{"name": f"VARIABLE_{number}", "value": "a value of some length" * 2} for number in range(8)]
    container = {
        "name": "main",
        "image": "registry.example.com/team/service:1.2.3",
        "env": environment,
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }
    labels = {"app.kubernetes.io/name": "service", "app.kubernetes.io/instance": name, "tier": "web"}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return orjson.dumps({"metadata": {"name": name, "labels": labels}, "spec": spec})


Call = Callable[[Wire, int], Awaitable[bytes]]
"""One request; the number counts all requests of a workload."""


class Load:
    """The connections, and the pods that have been made so far."""

    def __init__(self, address: Address, seconds: float, alone: ServerAlone | None) -> None:
        self._address = address
        self._alone = alone
        self._seconds = seconds
        self.wires: list[Wire] = []
        self.made = 0

    async def open(self) -> None:
        self.wires = [await self._address.open() for _ in range(CONNECTIONS)]

    async def close(self) -> None:
        for wire in self.wires:
            wire.close()

    async def rate(
        self, name: str, call: Call, *, reach: float, kubernetes: str, p99: float | None = None, most: int = 10**9
    ) -> int:
        """Call as often as possible for a while, at most ``most`` times, and print the rate; returns how many calls."""
        numbers: Iterator[int] = iter(range(most))
        took: list[float] = []
        cpu, start = self._processor_seconds(), time.perf_counter()
        end = start + self._seconds

        async def work(wire: Wire) -> None:
            while (began := time.perf_counter()) < end and (number := next(numbers, None)) is not None:
                await call(wire, number)
                took.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*(work(wire) for wire in self.wires))
        passed = time.perf_counter() - start
        each = (self._processor_seconds() - cpu) / len(took) * 1e6
        report.rate(name, len(took) / passed, took, reach=reach, p99=p99, kubernetes=kubernetes, server_us=each)
        return len(took)

    def _processor_seconds(self) -> float:
        return processor_seconds(self._alone.pid) if self._alone is not None else 0.0

    async def writes_and_reads(self) -> None:
        # No more than are listed next, so that the memory is that of so many pods however fast they are made.
        self.made = await self.rate(
            "create a pod, durable", lambda wire, n: wire.call("POST", f"{ROOT}/pods", pod(f"pod-{n:06}")),
            reach=2000, p99=40, kubernetes="640-725/s, p99 67-73 ms", most=LISTED,
        )  # fmt: skip
        await self.rate(
            "get a pod, latest", lambda wire, n: wire.call("GET", f"{ROOT}/pods/pod-{n % self.made:06}"),
            reach=8000, kubernetes="2,060-2,280/s",
        )  # fmt: skip
        await self.rate(
            "get a pod, from the cache",
            lambda wire, n: wire.call("GET", f"{ROOT}/pods/pod-{n % self.made:06}?resourceVersion=0"),
            reach=8000, kubernetes="3,900/s",
        )  # fmt: skip

        def reported(number: int) -> bytes:
            conditions = [{"type": "Ready", "status": "True", "reason": f"Turn{number}"}]
            return orjson.dumps({"status": {"phase": "Running", "podIP": "10.0.0.9", "conditions": conditions}})

        await self.rate(
            "merge-patch a pod's status",
            lambda wire, n: wire.call("PATCH", f"{ROOT}/pods/pod-{n % self.made:06}/status", reported(n), MERGE),
            reach=1500, kubernetes="313-387/s",
        )  # fmt: skip

    async def renewals(self) -> None:
        """What every node's agent asks for each ten seconds, and every elected controller each two."""
        spec = {"holderIdentity": "somebody", "leaseDurationSeconds": 40}
        held: dict[Wire, dict[str, Any]] = {}
        for number, wire in enumerate(self.wires):
            lease = orjson.dumps({"metadata": {"name": f"lease-{number:02}"}, "spec": spec})
            held[wire] = orjson.loads(await wire.call("POST", LEASES, lease))

        async def renew(wire: Wire, number: int) -> bytes:
            lease = held[wire]
            lease["spec"]["renewTime"] = f"2026-01-01T00:00:00.{number % 1_000_000:06}Z"
            answer = await wire.call("PUT", f"{LEASES}/{lease['metadata']['name']}", orjson.dumps(lease))
            held[wire] = orjson.loads(answer)
            return answer

        await self.rate("renew a lease (PUT), durable", renew, reach=2000, kubernetes="-")

    async def fill(self, count: int) -> None:
        """Create pods until there are ``count``."""
        numbers = iter(range(self.made, count))

        async def work(wire: Wire) -> None:
            for number in numbers:
                await wire.call("POST", f"{ROOT}/pods", pod(f"pod-{number:06}"))

        await asyncio.gather(*(work(wire) for wire in self.wires))
        self.made = max(self.made, count)

    async def lists(self, count: int, *, reach: float, kubernetes: str) -> None:
        took = []
        size = 0
        for _ in range(7):
            began = time.perf_counter()
            size = len(await self.wires[0].call("GET", f"{ROOT}/pods?limit={count}"))
            took.append((time.perf_counter() - began) * 1000)
        name = f"list {count:,} pods ({size / 1e6:.1f} MB)"
        report.figure(name, took, unit="ms", reach=reach, kubernetes=kubernetes)

    async def _watching(self) -> tuple[str, list[Wire]]:
        """A label of its own, and connections that watch the ConfigMaps that carry it."""
        label = f"turn={time.monotonic_ns()}"
        since = orjson.loads(await self.wires[0].call("GET", f"{ROOT}/configmaps?limit=1"))["metadata"][
            "resourceVersion"
        ]
        watching = [await self._address.open() for _ in range(WATCHERS)]
        for wire in watching:
            await wire.watch(f"{ROOT}/configmaps?watch=true&resourceVersion={since}&labelSelector={label}")
        return label, watching

    async def informed(self) -> list[Wire]:
        """Connections that have been told of every pod and watch on, as informers do, all at once."""
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

        async def inform() -> Wire:
            wire = await self._address.open()
            await wire.watch(f"{ROOT}/pods?{query}")
            return wire

        watching = await asyncio.gather(*(inform() for _ in range(WATCHERS)))
        await asyncio.gather(*(wire.events(self.made) for wire in watching))
        return watching

    async def burst(self) -> None:
        """Many watchers, many creates at once."""
        rates, waits = [], []
        for _ in range(5):
            label, watching = await self._watching()
            key, value = label.split("=")
            numbers = iter(range(BURST))
            sent: list[float] = []

            async def create(
                wire: Wire,
                key: str = key,
                value: str = value,
                sent: list[float] = sent,
                numbers: Iterator[int] = numbers,
            ) -> None:
                for number in numbers:
                    metadata = {"name": f"b{value}-{number}", "labels": {key: value}}
                    sent.append(time.perf_counter())
                    await wire.call(
                        "POST", f"{ROOT}/configmaps", orjson.dumps({"metadata": metadata, "data": {"k": "v"}})
                    )

            began = time.perf_counter()
            reading = [asyncio.create_task(wire.events(BURST)) for wire in watching]
            await asyncio.gather(*(create(wire) for wire in self.wires))
            came = [await one for one in reading]
            rates.append(WATCHERS * BURST / (max(map(max, came)) - began))
            waits += [(at - began) * 1000 for one in came for at in one]
            for wire in watching:
                wire.close()
        best = sorted(rates)[len(rates) // 2]
        name = f"{WATCHERS} watchers, burst of {BURST} creates, events delivered"
        report.rate(name, best, waits, reach=60_000, kubernetes="30,000-34,000/s, p99 155-220 ms")

    async def trickle(self) -> None:
        """How long after its create was answered does an event reach a watcher?"""
        label, watching = await self._watching()
        key, value = label.split("=")
        late: list[float] = []
        took: list[float] = []
        for number in range(30):
            reading = [asyncio.create_task(wire.events(1)) for wire in watching]
            metadata = {"name": f"t{value}-{number}", "labels": {key: value}}
            began = time.perf_counter()
            await self.wires[0].call("POST", f"{ROOT}/configmaps", orjson.dumps({"metadata": metadata}))
            answered = time.perf_counter()
            took.append((answered - began) * 1000)
            late += [max(0.0, (await one)[0] - answered) * 1000 for one in reading]
            await asyncio.sleep(0.1)
        for wire in watching:
            wire.close()
        name = f"{WATCHERS} watchers, 10 creates/s: event after the create's answer"
        report.figure(name, late, unit="ms", reach=0.2, kubernetes="p50 0.2 ms, p99 5.6-8 ms")
        report.figure("  and the create itself", took, unit="ms")


async def measure(address: Address, arguments: argparse.Namespace, alone: ServerAlone | None) -> None:
    load = Load(address, arguments.seconds, alone)
    await load.open()
    await load.wires[0].call("POST", "/api/v1/namespaces", orjson.dumps({"metadata": {"name": NAMESPACE}}))
    account = orjson.dumps({"metadata": {"name": "default"}})
    if alone is not None:  # Elsewhere a controller makes it.
        await load.wires[0].call("POST", f"{ROOT}/serviceaccounts", account)
    try:
        await load.writes_and_reads()
        await load.renewals()
        await load.burst()
        await load.trickle()
        await load.fill(LISTED)
        await load.lists(LISTED, reach=60, kubernetes="313-376 ms")
        if alone is not None and load.made == LISTED:
            memory(alone, load.made, reach=150, kubernetes="1.5 GB")
            watching = await load.informed()
            memory(alone, load.made, reach=150, kubernetes="1.5 GB", beside=f", {WATCHERS} informers connected")
            for wire in watching:
                wire.close()
        await load.fill(arguments.pods)
        await load.lists(load.made, reach=250, kubernetes="1,300-1,700 ms")
        if alone is not None:
            memory(alone, load.made, reach=400, kubernetes="2.7-2.9 GB")
            seconds = await alone.restart()
            report.figure(f"start with {load.made:,} pods in the store", [seconds], unit="s", reach=2, kubernetes="-")
            await load.open()
    finally:
        for collection in (f"{ROOT}/pods", f"{ROOT}/configmaps", LEASES):
            await load.wires[0].call("DELETE", collection)
        await load.wires[0].call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        await load.close()


def memory(alone: ServerAlone, pods: int, *, reach: float, kubernetes: str, beside: str = "") -> None:
    name = f"resident memory with {pods:,} pods stored{beside}"
    report.figure(name, [alone.resident_bytes() / 1e6], unit="MB", reach=reach, kubernetes=kubernetes)


async def main(arguments: argparse.Namespace) -> None:
    report.machine(f"one API server, {CONNECTIONS} connections, TLS, pods of 2 KB, {arguments.seconds:g} s each")
    if arguments.kubeconfig:
        await measure(Address.of(kubeconfig.load(arguments.kubeconfig)), arguments, None)
    elif arguments.bare:
        print("# without authentication, authorization, admission and managedFields")
        async with server_alone(bare=True) as alone:
            load = Load(Address.of(kubeconfig.load(alone.kubeconfig)), arguments.seconds, alone)
            await load.open()
            await load.wires[0].call("POST", "/api/v1/namespaces", orjson.dumps({"metadata": {"name": NAMESPACE}}))
            await load.writes_and_reads()
            await load.close()
    else:
        async with server_alone() as alone:
            await measure(Address.of(kubeconfig.load(alone.kubeconfig)), arguments, alone)
    report.machine("load at the end")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pods", type=int, default=20_000)
    parser.add_argument(
        "--bare", action="store_true", help="what it would be without who asks, what they may, admission"
    )
    uvloop.run(main(parser.parse_args()))
