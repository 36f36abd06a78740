"""``kontinuum simulate``: drives a cluster of hollow nodes and prints what it costs, and how long it takes, by size."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kontinuum.cli.simulation.drive import Drive, Idle, Plan
from kontinuum.cli.simulation.parts import Parts, started
from kontinuum.cli.simulation.timing import PHASES, Point
from kontinuum.client import kubeconfig as reading
from kontinuum.client.connect import connect
from kontinuum.foundation.clock import Clock

MIB = 1 << 20


async def simulate(
    plan: Plan,
    clock: Clock,
    *,
    kubeconfig: Path | None,
    context: str = "",
    store: str = "",
    keep: Path | None = None,
    as_json: bool = False,
) -> None:
    """Simulate ``plan``: on a fresh cluster of our own, or on the one that ``kubeconfig`` names.

    Raises BadKubeconfig, Stalled, PartFell, ApiError.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with contextlib.AsyncExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        parts = Parts(kubeconfig, {}) if kubeconfig else await stack.enter_async_context(
            started(clock, store=store, keep=keep)
        )  # fmt: skip
        client = connect(reading.load(parts.kubeconfig, context=context), user_agent="kontinuum-simulate")
        stack.push_async_callback(client.close)
        task = progress.add_task("pods running", total=plan.pods)
        drive = Drive(
            client, clock, plan, parts=parts,
            told=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
        points, idle = [], None
        try:
            async with drive.nodes():
                async for one in drive.run():
                    points.append(one)
                if plan.settle_seconds and parts.children:
                    idle = await drive.idle()
        finally:
            if kubeconfig:
                await drive.clean()
    print(as_text(points, idle) if as_json else "", end="")
    if not as_json:
        # A pipe or a log has no width; the rows must not be cut to that of an old terminal.
        out = Console() if Console().is_terminal else Console(width=160)
        out.print(table(points))
        if idle is not None:
            shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in idle.shares.items())
            out.print(f"idle for {idle.seconds:g} s, of one core: {shares}")


def as_text(points: Sequence[Point], idle: Idle | None) -> str:
    """For scripts."""
    document = {"points": [asdict(one) for one in points], "idle": None if idle is None else asdict(idle)}
    return json.dumps(document, indent=2) + "\n"


def table(points: Sequence[Point]) -> Table:
    """For people: a row for each size."""
    shown = Table(title="latency p50 / p99 of each phase, and what the parts had used when all pods ran")
    parts = list(points[0].memory) if points else []
    for heading in ("nodes", "pods", "new", *PHASES, "bound/s", "all running after", *parts):
        shown.add_column(heading, justify="right")
    for one in points:
        phases = [f"{_time(one.p50[phase])} / {_time(one.p99[phase])}" for phase in PHASES]
        rate = f"{one.new / one.took['bound']:,.0f}" if one.took["bound"] else ""
        used = [f"{one.memory[name] / MIB:,.0f} MiB, {one.processor[name]:.1f} s" for name in parts]
        sizes = [f"{one.nodes:,}", f"{one.pods:,}", f"{one.new:,}"]
        shown.add_row(*sizes, *phases, rate, _time(one.took["running"]), *used)
    return shown


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
