"""Pods bound a second, through the API: our scheduler as a process of its own beside an API server.

    python -m benchmarks.scheduling [--nodes 1000] [--pods 3000] [--profile FILE]

Nodes and pods are there before the scheduler starts; what is measured is the time from the first binding to the last,
as a watch sees them, and the processor time that scheduler and server took for each pod meanwhile. ``--profile`` has
the scheduler write a cProfile of itself (which halves its speed).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import orjson

from benchmarks import report
from benchmarks.installation import KONTINUUM, ServerAlone, processor_seconds, server_alone
from benchmarks.scheduler import a_node
from benchmarks.wire import Address, Wire
from kontinuum.client import kubeconfig
from kontinuum.foundation import process

CONNECTIONS = 16
PODS = "/api/v1/namespaces/default/pods"
KUBERNETES = {1000: "220-245/s", 5000: "245-285/s"}
REACH = {1000: 2000.0, 5000: 1500.0}


def a_pod(number: int) -> bytes:
    container = {
        "name": "main", "image": "registry.example.com/team/service:1.2.3",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }  # fmt: skip
    labels = {"app": "service", "pod-template-hash": "5d4f8c7b9"}
    # No agent ever says that the nodes are ready.
    tolerations = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    spec = {"containers": [container], "automountServiceAccountToken": False, "tolerations": tolerations}
    return orjson.dumps({"metadata": {"name": f"web-{number}", "labels": labels}, "spec": spec})


async def fill(wires: list[Wire], path: str, bodies: list[bytes]) -> None:
    left = iter(bodies)

    async def work(wire: Wire) -> None:
        for body in left:
            await wire.call("POST", path, body)

    await asyncio.gather(*(work(wire) for wire in wires))


async def bound_times(wire: Wire, version: str, pods: int, *, first: Callable[[], None]) -> list[float]:
    """When each pod was seen with a node, in seconds of ``time.perf_counter``."""
    await wire.watch(f"{PODS}?watch=true&resourceVersion={version}&fieldSelector=spec.nodeName%21%3D")
    return await wire.events(pods, first=first)


async def measure(server: ServerAlone, *, nodes: int, pods: int, profile: Path | None) -> None:
    address = Address.of(kubeconfig.load(server.kubeconfig))
    wires = [await address.open() for _ in range(CONNECTIONS)]
    await fill(wires, "/api/v1/nodes", [orjson.dumps(a_node(number)) for number in range(nodes)])
    account = {"metadata": {"name": "default"}}
    await fill(wires, "/api/v1/namespaces/default/serviceaccounts", [orjson.dumps(account)])
    await fill(wires, PODS, [a_pod(number) for number in range(pods)])
    listed = orjson.loads(await wires[0].call("GET", f"{PODS}?limit=1"))
    begun: list[tuple[float, float]] = []

    def first() -> None:
        begun.append((processor_seconds(child.pid), processor_seconds(server.pid)))

    version = listed["metadata"]["resourceVersion"]
    watching = asyncio.create_task(bound_times(await address.open(), version, pods, first=first))
    command: list[process.Word] = [KONTINUUM, "scheduler", "--kubeconfig", server.kubeconfig, "--no-elect"]
    if profile is not None:
        command = [sys.executable, "-m", "benchmarks.profiled", profile, server.kubeconfig]
    log = os.open(server.data_dir / "scheduler.log", os.O_CREAT | os.O_WRONLY)
    child = process.spawn(*command, stdout=log, stderr=log)
    os.close(log)
    try:
        async with asyncio.timeout(300):
            came = await watching
        mine = processor_seconds(child.pid) - begun[0][0]
        servers = processor_seconds(server.pid) - begun[0][1]
        seconds = came[-1] - came[0]
        reach = REACH.get(nodes, 0)
        verdict = "held" if pods / seconds >= reach else "NOT YET HELD"
        print(
            f"{nodes} nodes, {pods} pods: {pods / seconds:,.0f} bound a second  reach ≥ {reach:,.0f}/s: {verdict}"
            f"  (Kubernetes: {KUBERNETES.get(nodes, '-')})\n"
            f"  processor time a pod: scheduler {1e6 * mine / pods:,.0f} µs, server"
            f" {1e6 * servers / pods:,.0f} µs",
            flush=True,
        )
        await asyncio.sleep(2)  # its events
    finally:
        await child.stop(grace=30)
        child.close()
        for wire in wires:
            wire.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, action="append")
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument("--profile", type=Path)
    arguments = parser.parse_args()
    report.machine("Scheduling through the API: pods and nodes are there, the scheduler starts")
    for nodes in arguments.nodes or (1000, 5000):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        async with server_alone(port=port) as server:
            await measure(server, nodes=nodes, pods=arguments.pods, profile=arguments.profile)


if __name__ == "__main__":
    asyncio.run(main())
