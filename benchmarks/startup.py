"""From ``kontinuum up`` on fresh data to a first durable write, to a first pod; and what the idle platform weighs."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.installation import KONTINUUM, Installation, fresh
from kontinuum.api.kubernetes.resources import DEPLOYMENTS, PODS
from kontinuum.foundation import process

SETTLE_SECONDS = 15.0
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "first"},
    "spec": {
        "selector": {"matchLabels": {"app": "first"}},
        "template": {
            "metadata": {"labels": {"app": "first"}},
            "spec": {"containers": [{"name": "main", "image": "localhost/busybox:1", "command": ["sleep", "1000"]}]},
        },
    },
}


async def seconds_to_first_pod(installation: Installation) -> float:
    await installation.client.create(DEPLOYMENTS, DEPLOYMENT, namespace="default")
    while not (await installation.client.list(PODS, namespace="default")).items:
        await asyncio.sleep(0.01)
    return time.monotonic() - installation.began


async def idle_megabytes(installation: Installation) -> float:
    """Proportional set size of API server, controllers and scheduler, some time after the start."""
    await asyncio.sleep(SETTLE_SECONDS)
    status = await process.run(KONTINUUM, "status", "--output", "json", "--data-dir", installation.data_dir)
    parts = {part["name"]: part for part in json.loads(status.stdout)["parts"]}
    total = 0
    for name in ("server", "controllers"):
        rollup = Path(f"/proc/{parts[name]['pid']}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


async def main(rounds: int) -> None:
    report.machine(f"kontinuum up on fresh data, {rounds} times")
    writes, pods, memory = [], [], []
    for _ in range(rounds):
        async with fresh() as installation:
            writes.append(installation.seconds_to_first_write)
            pods.append(await seconds_to_first_pod(installation))
            memory.append(await idle_megabytes(installation))
    report.figure("up → first write accepted", writes, unit="s", reach=1.0)
    report.figure("up → first pod of a new Deployment created", pods, unit="s", reach=2.5)
    report.figure("idle memory of API server + controllers + scheduler (PSS)", memory, unit="MB", reach=120)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
