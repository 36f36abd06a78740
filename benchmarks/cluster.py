"""A whole cluster of hollow nodes: what it binds a second, how soon all pods run, what the controllers take.

    python -m benchmarks.cluster [--short]

Each figure is one `kontinuum simulate` on fresh data: API server, controllers and scheduler as processes of their own,
the nodes and the one who asks in a fourth. With two cores they share them, so each part's processor time a pod is
printed too: it depends less on what else the machine does. 10,000 pods are run several times, each with the machine's
own pace just before it, and the middle one counts. ``--short`` does it once, and leaves the 5,000 nodes out, which take
long to register.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.installation import KONTINUUM
from benchmarks.report import figure, held, machine, paced
from kontinuum.foundation import process

MIB = 1 << 20
PATIENCE = 1200.0
ROUNDS = 3
"""How often 10,000 pods are run: the machine's own speed changes by half from one minute to the next."""


async def simulated(*words: str) -> dict[str, Any]:
    """What ``kontinuum simulate`` says of its only point, and of idling."""
    ran = await process.run(KONTINUUM, "simulate", "--steps", "1", "--output", "json", *words, timeout=PATIENCE)
    answer: dict[str, Any] = json.loads(ran.stdout)
    return {**answer["points"][0], "idle": answer["idle"]}


def processors(point: dict[str, Any]) -> str:
    each = (f"{name} {1e6 * seconds / point['new']:.0f}" for name, seconds in point["processor"].items())
    return f"processor time a pod, µs: {', '.join(each)}"


async def binding(nodes: int) -> None:
    """No promise of its own: the scheduler's is measured where it alone is at work (``benchmarks.scheduling``)."""
    point = await simulated("--nodes", str(nodes), "--pods", "3000")
    rate = point["new"] / point["took"]["bound"]
    print(f"{nodes:,} nodes, 3,000 pods, everything at work: bound {rate:,.0f}/s ({processors(point)})", flush=True)


async def creation() -> None:
    point = await simulated("--nodes", "100", "--pods", "500")
    took = point["took"]["created"]
    held(
        f"Deployment of 500 replicas: all created after {took:.2f} s ({processors(point)})",
        took <= 0.5,
        wanted="≤ 0.5 s",
        kubernetes="1.5 s; 24 s as shipped",
    )


async def running(*, settle_seconds: int = 0) -> dict[str, Any]:
    pace = paced()
    point = await simulated("--nodes", "1000", "--pods", "10000", "--settle-seconds", str(settle_seconds))
    took = point["took"]["running"]
    print(f"10,000 pods on 1,000 nodes: all running after {took:.1f} s ({pace}; {processors(point)})", flush=True)
    return point


async def running_and_idling(*, rounds: int) -> None:
    first = await running(settle_seconds=60)
    idling(first)
    points = [first, *[await running() for _ in range(rounds - 1)]]
    took = [point["took"]["running"] for point in points]
    figure("10,000 pods on 1,000 nodes, all running", took, unit="s", reach=15)


def idling(point: dict[str, Any]) -> None:
    memory, shares = point["memory"]["controllers"] / MIB, point["idle"]["shares"]
    held(f"memory of the controllers then: {memory:.0f} MiB", memory <= 300 * 1e6 / MIB, wanted="≤ 300 MB")
    idle = 100 * (shares["controllers"] + shares["scheduler"])
    held(f"controllers and scheduler, idle for a minute: {idle:.2f} % of a core", idle <= 1, wanted="≤ 1 %")


async def main(*, short: bool) -> None:
    machine("Whole clusters of hollow nodes, through the API: Deployments of 500 pods, applied at once")
    await creation()
    await binding(1000)
    await running_and_idling(rounds=1 if short else ROUNDS)
    if not short:
        await binding(5000)


if __name__ == "__main__":
    asyncio.run(main(short="--short" in sys.argv[1:]))
