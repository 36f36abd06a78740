"""What a class costs beside its containers: memory and processor of idle pods, beside what its RuntimeClass keeps free.

``python -m benchmarks.overhead [PODS [SECONDS]]``: pods of each class, and for how long they are watched. The figures
are the node's own (its Summary; ``kontinuum_pod_overhead_*`` of ``/metrics/cadvisor`` are the same), so any node can be
asked for them at any time. Processor time and memory, which other work on the machine does not change much.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from benchmarks import report
from benchmarks.installation import fresh
from benchmarks.pods import start_together
from kontinuum.api.kubernetes.resources import NODES, RUNTIMECLASSES
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import name_of
from kontinuum.client.rest import Client

CLASSES = ("container", "sandbox", "microvm")
SETTLE_SECONDS = 20.0


@dataclass(frozen=True)
class Overhead:
    """What a pod takes beyond its containers: bytes of working set, and nanoseconds of processor since it began."""

    memory: int
    cpu: int


async def overheads(client: Client, node: str) -> dict[str, Overhead]:
    """By pod, from the node's Summary."""
    told = await client.get_path(f"/api/v1/nodes/{node}/proxy/stats/summary")
    return {
        one["podRef"]["name"]: Overhead(
            one["memory"]["workingSetBytes"] - sum(each["memory"]["workingSetBytes"] for each in one["containers"]),
            one["cpu"]["usageCoreNanoSeconds"] - sum(each["cpu"]["usageCoreNanoSeconds"] for each in one["containers"]),
        )
        for one in told["pods"]
        if one["containers"]
    }


async def set_aside(client: Client, isolation_class: str) -> tuple[int, int]:
    """Bytes and millicores of the class's ``overhead.podFixed``."""
    found = next(one for one in (await client.list(RUNTIMECLASSES)).items if name_of(one) == isolation_class)
    fixed = (found.get("overhead") or {}).get("podFixed") or {}
    return quantity.value(fixed.get("memory", "0")), quantity.milli(fixed.get("cpu", "0"))


async def main(count: int, seconds: float) -> None:
    report.machine(f"{count} idle pods of each class, watched for {seconds:g} s")
    async with fresh() as installation:
        client = installation.client
        while not any(is_true(node, "Ready") for node in (await client.list(NODES)).items):
            await asyncio.sleep(0.1)
        while not set(CLASSES) <= {name_of(one) for one in (await client.list(RUNTIMECLASSES)).items}:
            await asyncio.sleep(0.1)
        for isolation_class in CLASSES:
            await start_together(client, [f"{isolation_class}-{number}" for number in range(count)], isolation_class)
        await asyncio.sleep(SETTLE_SECONDS)
        node = name_of((await client.list(NODES)).items[0])
        before = await overheads(client, node)
        await asyncio.sleep(seconds)
        after = await overheads(client, node)
        for isolation_class in CLASSES:
            names = [name for name in after if name.startswith(isolation_class)]
            memory = [after[name].memory / 1e6 for name in names]
            processor = [(after[name].cpu - before[name].cpu) / seconds / 1e6 for name in names]
            memory_bytes, millicores = await set_aside(client, isolation_class)
            report.figure(
                f"{isolation_class}: memory beside its containers", memory, unit="MB", reach=memory_bytes / 1e6 or None
            )
            report.figure(
                f"{isolation_class}: processor beside its containers", processor, unit="m", reach=millicores or None
            )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(int(arguments[0]) if arguments else 4, float(arguments[1]) if arguments[1:] else 60.0))
