"""``kontinuum status``: what runs, since when, with how much memory, on which ports."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from kontinuum.cli import state
from kontinuum.cli.commands import host
from kontinuum.cli.exits import NotRunning
from kontinuum.cli.installation import Installation
from kontinuum.cli.processes import listening_ports, memory_bytes
from kontinuum.foundation.clock import rfc3339


def status(*, data_dir: Path, as_json: bool) -> None:
    """Print the platform's state. Raises NotRunning."""
    paths = Installation.at(data_dir)
    running = state.read(paths.state)
    if running is None:
        raise NotRunning(f"no platform runs with the data directory {paths.data}; start it: kontinuum up")
    report = describe(running)
    if hosts := asyncio.run(host.described(paths)):
        report["hosts"] = hosts
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_table(report)


def describe(running: state.PlatformState) -> dict[str, Any]:
    """The state with what the kernel knows of each process. Memory is proportional set size in bytes."""
    return {
        "version": running.version,
        "ready": running.ready,
        "address": running.address,
        "dataDir": running.data_dir,
        "runDir": str(Installation.at(Path(running.data_dir)).run),
        "accelerator": running.accelerator,
        "vmm": running.vmm,
        "since": rfc3339(running.since),
        "supervisor": {"pid": running.pid, "memoryBytes": memory_bytes(running.pid)},
        "parts": [_part(part) for part in running.parts],
    }


def _part(part: state.PartState) -> dict[str, Any]:
    return {
        "name": part.name,
        "state": part.state,
        "pid": part.pid,
        "since": rfc3339(part.since),
        "restarts": part.restarts,
        "lastExit": part.last_exit,
        "memoryBytes": memory_bytes(part.pid) if part.pid else None,
        "ports": listening_ports(part.pid) if part.pid else [],
        "log": part.log,
        "sinceSeconds": round(time.time() - part.since, 1),
    }


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    supervisor = report["supervisor"]
    table = Table(title=f"Kontinuum {report['version']} at {report['address']}, data in {report['dataDir']}")
    for heading, justify in (("part", "left"), ("state", "left"), ("pid", "right"), ("for", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for heading in ("restarts", "memory", "ports"):
        table.add_column(heading, justify="right")
    for part in report["parts"]:
        table.add_row(
            part["name"],
            part["state"],
            str(part["pid"] or "-"),
            _duration(part["sinceSeconds"]),
            str(part["restarts"]),
            _megabytes(part["memoryBytes"]),
            " ".join(map(str, part["ports"])),
        )
    table.add_row("supervisor", "", str(supervisor["pid"]), "", "", _megabytes(supervisor["memoryBytes"]), "")
    Console().print(table)
    if "hosts" in report:
        host.print_table(report["hosts"])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / (1 << 20):.1f} MB"
