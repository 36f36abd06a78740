"""From creating a pod to seeing it Running, image present, one pod at a time, the classes taking turns."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

from benchmarks import report
from benchmarks.installation import fresh
from kontinuum.api.kubernetes.resources import NODES, PODS
from kontinuum.client.rest import Client

REACH = {"container": 0.8, "microvm": 1.0}
WARM_UP = 2


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


async def seconds_to_running(client: Client, name: str, isolation_class: str) -> float:
    """Create the pod, watch it become Running, delete it and wait until it is gone."""
    began = time.monotonic()
    created = await client.create(PODS, pod(name, isolation_class), namespace="default")
    version = created["metadata"]["resourceVersion"]
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


async def main(count: int) -> None:
    report.machine(
        f"create → Running of single pods, {count} of each class in turn, after {WARM_UP} of each to warm up"
    )
    async with fresh() as installation:
        client = installation.client
        while not any(_ready(node) for node in (await client.list(NODES)).items):
            await asyncio.sleep(0.1)
        taken: dict[str, list[float]] = {isolation_class: [] for isolation_class in REACH}
        for number in range(WARM_UP + count):
            for isolation_class, seconds in taken.items():
                took = await seconds_to_running(client, f"{isolation_class}-{number}", isolation_class)
                if number >= WARM_UP:
                    seconds.append(took)
    for isolation_class, seconds in taken.items():
        report.figure(f"create → Running, {isolation_class}", seconds, unit="s", reach=REACH[isolation_class])


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
