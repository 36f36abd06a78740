"""What a class costs: an idle pod of it as a whole, less what the same container takes without one.

``python -m benchmarks.overhead [PODS [SECONDS]]``: pods of each class, and for how long they are watched; beside each
figure what the RuntimeClass sets aside. Pods sleep: all the processor they use is their class's. The figures are the
node's own (its Summary), processor time and memory, which other work on the machine does not change much.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from statistics import median

from benchmarks import report
from benchmarks.installation import fresh
from benchmarks.pods import start_together
from kontinuum.api.kubernetes.resources import NODES, RUNTIMECLASSES
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.conditions import is_true
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.client.rest import Client

CLASSES = ("container", "sandbox", "microvm")
SETTLE_SECONDS = 20.0


@dataclass(frozen=True)
class Use:
    """Bytes of working set, and nanoseconds of processor since the beginning."""

    memory: int
    cpu: int


def _use(told: Object) -> Use:
    return Use(told["memory"]["workingSetBytes"], told["cpu"]["usageCoreNanoSeconds"])


async def uses(client: Client, node: str) -> dict[str, tuple[Use, list[Use]]]:
    """Of each pod as a whole and of its containers, by its name, from the node's Summary."""
    told = await client.get_path(f"/api/v1/nodes/{node}/proxy/stats/summary")
    return {
        one["podRef"]["name"]: (_use(one), [_use(each) for each in one["containers"]])
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
        before = await uses(client, node)
        await asyncio.sleep(seconds)
        after = await uses(client, node)
        plain = [used for name, (_, used) in after.items() if name.startswith("container")]
        own = median(one.memory for used in plain for one in used)
        for isolation_class in CLASSES:
            names = [name for name in after if name.startswith(isolation_class)]
            memory = [(after[name][0].memory - own) / 1e6 for name in names]
            processor = [(after[name][0].cpu - before[name][0].cpu) / seconds / 1e6 for name in names]
            memory_bytes, millicores = await set_aside(client, isolation_class)
            report.figure(f"{isolation_class}: memory", memory, unit="MB", reach=memory_bytes / 1e6 or None)
            report.figure(f"{isolation_class}: processor", processor, unit="m", reach=millicores or None)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(int(arguments[0]) if arguments else 4, float(arguments[1]) if arguments[1:] else 60.0))
