"""Many pods on one node: 100 applied at once until all run, then what agent and runtime cost while idle.

``python -m benchmarks.density [PODS [SECONDS]]``: container pods, and for how long the idle node is watched. Wall times
mean something on a quiet machine alone; processor seconds and memory do on any.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.installation import KONTINUUM, fresh, processor_seconds
from benchmarks.pods import start_together
from kontinuum.api.kubernetes.resources import NODES

REACH_SECONDS = 30.0
REACH_AGENT_BYTES = 120e6
REACH_IDLE = 3.0
"""Percent of one core."""
SETTLE_SECONDS = 20.0


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def parts(data_dir: Path) -> dict[str, int]:
    """The process of each part, by its name."""
    answer = subprocess.run(
        [KONTINUUM, "status", "--output", "json", "--data-dir", data_dir], capture_output=True, check=True
    ).stdout
    return {one["name"]: one["pid"] for one in json.loads(answer)["parts"] if one["pid"]}


async def main(count: int, seconds: float) -> None:
    report.machine(f"{count} container pods at once on one node, then idle for {seconds:g} s")
    async with fresh() as installation:
        client = installation.client
        while not any(_ready(node) for node in (await client.list(NODES)).items):
            await asyncio.sleep(0.1)
        await start_together(client, ["warm-up"], "container")
        pids = parts(installation.data_dir)
        before = {name: processor_seconds(pid) for name, pid in pids.items()}
        took = await start_together(client, [f"many-{number}" for number in range(count - 1)], "container")
        report.figure(f"{count} container pods: all Running", [took], unit="s", reach=REACH_SECONDS)
        for name, pid in pids.items():
            report.figure(f"processor time of {name} for it", [processor_seconds(pid) - before[name]], unit="s")
        await asyncio.sleep(SETTLE_SECONDS)
        agent = pids["node"]
        report.figure("agent's memory", [resident_bytes(agent) / 1e6], unit="MB", reach=REACH_AGENT_BYTES / 1e6)
        before = {name: processor_seconds(pid) for name, pid in pids.items()}
        await asyncio.sleep(seconds)
        for name, pid in pids.items():
            share = (processor_seconds(pid) - before[name]) / seconds * 100
            reach = REACH_IDLE if name == "node" else None
            report.figure(f"idle, {name}", [share], unit="% of a core", reach=reach)


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(int(arguments[0]) if arguments else 100, float(arguments[1]) if arguments[1:] else 60.0))
