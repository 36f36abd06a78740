"""One change among 1,000 endpoints until it is in the kernel, and names asked from inside a pod."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.installation import Installation, fresh
from benchmarks.pods import pod
from kontinuum.api.kubernetes.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from kontinuum.client.rest import Client
from kontinuum.foundation import process
from kontinuum.foundation.nftables import Nftables, TransactionRefused
from kontinuum.node.network import table
from kontinuum.node.settings import NodeSettings

ENDPOINTS, OF_A_SLICE = 1000, 100
RULES_MILLISECONDS, NAME_MILLISECONDS = 50.0, 5.0
MAP = "endpoints-cluster/4/default/crowd/tcp"
ASKING = """
import json, sys, time
import dns.message, dns.query
query = dns.message.make_query("kubernetes.default.svc.cluster.local", "A")
took = []
for _ in range(int(sys.argv[2]) + 50):
    began = time.perf_counter()
    dns.query.udp(query, sys.argv[1], timeout=5)
    took.append((time.perf_counter() - began) * 1000)
print(json.dumps(took[50:]))
"""


def endpoint_slice(number: int, last: int) -> dict[str, Any]:
    """A hundred endpoints; the last one's address ends in ``last``."""
    ips = [f"10.99.{number}.{index}" for index in range(1, OF_A_SLICE)] + [f"10.99.{100 + number}.{last}"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"crowd-{number}", "namespace": "default", "labels": {"kubernetes.io/service-name": "crowd"},
        },
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
    }  # fmt: skip


def in_force(kernel: Nftables, name: str) -> set[str]:
    """The addresses that the kernel leads the Service's clients to."""
    try:
        [one] = [one["map"] for one in kernel.list(f"map {name} {MAP}") if "map" in one]
    except TransactionRefused:
        return set()
    return {value["concat"][0] for _, value in one.get("elem") or ()}


async def milliseconds_to_change(client: Client, kernel: Nftables, name: str, last: int) -> float:
    """From the API's answer until the kernel has the new endpoint and no longer the old one."""
    current = await client.get(ENDPOINTSLICES, "crowd-0", namespace="default")
    wanted = endpoint_slice(0, last)
    await client.update(ENDPOINTSLICES, {**wanted, "metadata": current["metadata"]})
    began = time.monotonic()
    while f"10.99.100.{last}" not in (found := in_force(kernel, name)) or f"10.99.100.{last - 1}" in found:
        await asyncio.sleep(0.001)
    return (time.monotonic() - began) * 1000


async def changes(installation: Installation, count: int) -> list[float]:
    client, kernel = installation.client, Nftables()
    name = table(NodeSettings(data_dir=str(installation.data_dir)))
    metadata = {"name": "crowd", "namespace": "default"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
    await client.create(SERVICES, service)
    for number in range(ENDPOINTS // OF_A_SLICE):
        await client.create(ENDPOINTSLICES, endpoint_slice(number, 1))
    while len(in_force(kernel, name)) < ENDPOINTS:
        await asyncio.sleep(0.05)
    try:
        return [await milliseconds_to_change(client, kernel, name, last) for last in range(2, 2 + count)]
    finally:
        kernel.close()


async def names(installation: Installation, count: int) -> list[float]:
    """Milliseconds for each question, asked one after the other inside a container's network."""
    client = installation.client
    while not any(_ready(node) for node in (await client.list(NODES)).items):
        await asyncio.sleep(0.1)
    created = await client.create(PODS, pod("asking", "container"), namespace="default")
    while (await client.get(PODS, "asking", namespace="default"))["status"].get("phase") != "Running":
        await asyncio.sleep(0.1)
    dns = await client.get(SERVICES, "kube-dns", namespace="kube-system")
    inside = ("nsenter", "--net", "--target", str(_process_of(created["metadata"]["uid"])))
    said = await process.run(*inside, sys.executable, "-c", ASKING, dns["spec"]["clusterIP"], str(count), timeout=120)
    took: list[float] = json.loads(said.stdout)
    return took


def _process_of(uid: str) -> int:
    """A process of the pod."""
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if directory.name.isdigit() and uid in (directory / "cgroup").read_text():
                return int(directory.name)
    raise LookupError(f"no process of pod {uid}")


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def main(count: int) -> None:
    report.machine(f"a Service of {ENDPOINTS} endpoints, {count} of them changed one by one; {count * 50} names asked")
    async with fresh() as installation:
        changed, asked = await changes(installation, count), await names(installation, count * 50)
    report.figure("one endpoint of 1,000 changed → rules in force", changed, unit="ms", reach=RULES_MILLISECONDS)
    report.figure("a Service's name, asked from a pod", asked, unit="ms")
    late = report.percentile(asked, 0.99)
    verdict = "held" if late <= NAME_MILLISECONDS else "NOT YET HELD"
    print(f"a Service's name, asked from a pod: p99 {late:.3g} ms  reach ≤ {NAME_MILLISECONDS:g} ms: {verdict}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 40))
