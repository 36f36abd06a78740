"""From creating a pod to seeing it Running, image present: one at a time, classes in turn; then many microVMs at once.

``python -m benchmarks.pods [SINGLE [TOGETHER]]``: how many pods of each class, and how many microVMs at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

from benchmarks import report
from benchmarks.installation import fresh
from kontinuum.api.kubernetes.resources import NODES, PODS, RUNTIMECLASSES
from kontinuum.api.machinery.objects import name_of
from kontinuum.client.rest import Client

REACH = {"container": 0.5, "sandbox": 0.9, "microvm": 0.5}
WARM_UP = 2
TOGETHER, REACH_TOGETHER = 50, 20.0
"""MicroVM pods at once on one node, and in how many seconds all of them shall run."""


def pod(name: str, isolation_class: str) -> dict[str, Any]:
    container = {"name": "main", "image": "localhost/busybox:1", "command": ["sleep", "100000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "runtimeClassName": isolation_class,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }


async def seconds_to_running(client: Client, wanted: dict[str, Any]) -> float:
    """Create the pod, watch it become Running, delete it and wait until it is gone."""
    began = time.monotonic()
    created = await client.create(PODS, wanted, namespace="default")
    name, version = created["metadata"]["name"], created["metadata"]["resourceVersion"]
    took = 0.0
    async with contextlib.aclosing(
        client.watch(PODS, namespace="default", fields=f"metadata.name={name}", resource_version=version)
    ) as events:
        async for event in events:
            if event.type == "DELETED":
                break
            if not took and event.object["status"].get("phase") == "Running":
                took = time.monotonic() - began
                await client.delete(PODS, name, namespace="default")
    return took


async def running(client: Client) -> int:
    listed = (await client.list(PODS, namespace="default")).items
    return sum((one.get("status") or {}).get("phase") == "Running" for one in listed)


async def wait_running(client: Client, count: int, *, seconds: float = 600) -> None:
    async with asyncio.timeout(seconds):
        while await running(client) < count:
            await asyncio.sleep(0.25)


async def start_together(client: Client, names: list[str], isolation_class: str) -> float:
    """Seconds from the first creation until all of them run."""
    began = time.monotonic()
    before = await running(client)
    await asyncio.gather(
        *(client.create(PODS, pod(name, isolation_class), namespace="default") for name in names)
    )  # fmt: skip
    await wait_running(client, before + len(names))
    return time.monotonic() - began


async def main(count: int, together: int) -> None:
    report.machine(
        f"create → Running of single pods, {count} of each class in turn, after {WARM_UP} of each to warm up"
    )
    async with fresh() as installation:
        client = installation.client
        while not any(_ready(node) for node in (await client.list(NODES)).items):
            await asyncio.sleep(0.1)
        while not set(REACH) <= {name_of(one) for one in (await client.list(RUNTIMECLASSES)).items}:
            await asyncio.sleep(0.1)
        taken: dict[str, list[float]] = {isolation_class: [] for isolation_class in REACH}
        for number in range(WARM_UP + count):
            for isolation_class, seconds in taken.items():
                took = await seconds_to_running(client, pod(f"{isolation_class}-{number}", isolation_class))
                if number >= WARM_UP:
                    seconds.append(took)
        for isolation_class, seconds in taken.items():
            report.figure(f"create → Running, {isolation_class}", seconds, unit="s", reach=REACH[isolation_class])
        burst = await start_together(client, [f"together-{number}" for number in range(together)], "microvm")
    report.figure(f"{together} microVM pods at once: all Running", [burst], unit="s", reach=REACH_TOGETHER)


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(int(arguments[0]) if arguments else 20, int(arguments[1]) if arguments[1:] else TOGETHER))
