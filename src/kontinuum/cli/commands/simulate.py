"""``kontinuum simulate``: drives a cluster of hollow nodes and prints what it costs, and how long it takes, by size."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kontinuum.cli import assemble, interruption
from kontinuum.cli.simulation.drive import Costs, Drive, Idle, Plan
from kontinuum.cli.simulation.parts import Parts, started
from kontinuum.cli.simulation.timing import PHASES, Point
from kontinuum.client import kubeconfig as reading
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import Clock, RealClock, VirtualClock
from kontinuum.foundation.virtual_time import VirtualTimeLoop

MIB = 1 << 20
HASHES = "PYTHONHASHSEED"
"""Decides in which order Python goes through a set of texts."""


@dataclass
class Outcome:
    """What is printed. ``lived`` are virtual seconds, 0 for real time; ``fingerprint`` is of which pod is where."""

    points: list[Point] = field(default_factory=list)
    idle: Idle | None = None
    lived: float = 0.0
    took: float = 0.0
    fingerprint: str = ""


def run_real(
    plan: Plan, *, kubeconfig: Path | None, context: str, store: str, keep: Path | None, as_json: bool
) -> None:
    """Simulate ``plan``: on a fresh cluster of our own, or on the one that ``kubeconfig`` names.

    Raises BadKubeconfig, Stalled, PartFell, ApiError, Interrupted.
    """
    _collect_seldom()
    work = _simulate_real(plan, kubeconfig=kubeconfig, context=context, store=store, keep=keep, as_json=as_json)
    interruption.run(work, loop=interruption.fast)


async def _simulate_real(
    plan: Plan, *, kubeconfig: Path | None, context: str, store: str, keep: Path | None, as_json: bool
) -> None:
    clock = RealClock()
    async with _real(clock, kubeconfig=kubeconfig, context=context, store=store, keep=keep) as (client, parts):
        _print(await _drive(client, clock, plan, parts, cleans=kubeconfig is not None), as_json=as_json)


def run_virtual(plan: Plan, *, seed: int, as_json: bool) -> None:
    """Simulate ``plan`` in one process and in virtual time. Raises Stalled, PartEnded, ApiError, Interrupted.

    The process begins once more if the order of its sets is left to chance: the same seed is to give the same life.
    """
    if os.environ.get(HASHES) != "0":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, HASHES: "0"})
    _collect_seldom()
    interruption.run(_simulate_virtual(plan, seed=seed, as_json=as_json), loop=VirtualTimeLoop)


async def _simulate_virtual(plan: Plan, *, seed: int, as_json: bool) -> None:
    # Here, because nobody else needs an API server in this process.
    from kontinuum.cli.simulation.virtual import living

    clock, began = VirtualClock(), time.perf_counter()
    async with living(clock, seed=seed) as (client, parts):
        outcome = await _drive(client, clock, plan, parts, cleans=False)
        outcome.lived, outcome.took = clock.monotonic(), time.perf_counter() - began
        _print(outcome, as_json=as_json)


def _collect_seldom() -> None:
    """As each of the parts does that is a process of its own: looking for cycles was a fifth of the nodes' work."""
    gc.freeze()
    gc.set_threshold(*assemble.COLLECT_EVERY)


@contextlib.asynccontextmanager
async def _real(
    clock: Clock, *, kubeconfig: Path | None, context: str, store: str, keep: Path | None
) -> AsyncIterator[tuple[Client, Costs]]:
    """Somebody's cluster, or one of our own that ends with the block."""
    async with contextlib.AsyncExitStack() as stack:
        if kubeconfig is not None:
            parts = Parts(reading.load(kubeconfig, context=context), {})
        else:
            parts = await stack.enter_async_context(started(clock, store=store, keep=keep))
        client = connect(parts.connection, user_agent="kontinuum-simulate")
        stack.push_async_callback(client.close)
        yield client, parts


async def _drive(client: Client, clock: Clock, plan: Plan, parts: Costs, *, cleans: bool) -> Outcome:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcome = Outcome()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("pods running", total=plan.pods)
        drive = Drive(
            client, clock, plan, parts=parts,
            told=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
        try:
            async with drive.nodes():
                async for one in drive.run():
                    outcome.points.append(one)
                    if not console.is_terminal:
                        # The last may take an hour, or never come.
                        console.out(_line(one), highlight=False)
                outcome.fingerprint = drive.fingerprint()
                if plan.settle_seconds and parts.processor():
                    outcome.idle = await drive.idle()
        finally:
            if cleans:
                await drive.clean()
    return outcome


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(as_text(outcome), end="")
        return
    # A pipe or a log has no width; the rows must not be cut to that of an old terminal.
    out = Console() if Console().is_terminal else Console(width=160)
    out.print(table(outcome.points, is_virtual=bool(outcome.lived)))
    if outcome.idle is not None:
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in outcome.idle.shares.items())
        out.print(f"idle for {outcome.idle.seconds:g} s, of one core: {shares}")
    if outcome.lived:
        lived, took = _time(outcome.lived), _time(outcome.took)
        out.print(f"{lived} of virtual time took {took}; placements {outcome.fingerprint}")


def as_text(outcome: Outcome) -> str:
    """For scripts."""
    return json.dumps(asdict(outcome), indent=2) + "\n"


def table(points: Sequence[Point], *, is_virtual: bool = False) -> Table:
    """For people: a row for each size. In virtual time nothing is said of rates: computing takes none of it."""
    of = "latency p50 / p99 of each phase" + (" in virtual time" if is_virtual else "")
    shown = Table(title=f"{of}, and what the parts had used when all pods ran")
    parts = list(points[0].memory) if points else []
    rates = [] if is_virtual else ["bound/s"]
    for heading in ("nodes", "pods", "new", *PHASES, *rates, "all running after", *parts):
        shown.add_column(heading, justify="right")
    for one in points:
        phases = [f"{_time(one.p50[phase])} / {_time(one.p99[phase])}" for phase in PHASES]
        if not is_virtual:
            phases.append(f"{one.new / one.took['bound']:,.0f}" if one.took["bound"] else "")
        used = [f"{one.memory[name] / MIB:,.0f} MiB, {one.processor[name]:.1f} s" for name in parts]
        sizes = [f"{one.nodes:,}", f"{one.pods:,}", f"{one.new:,}"]
        shown.add_row(*sizes, *phases, _time(one.took["running"]), *used)
    return shown


def _line(one: Point) -> str:
    """What a log is told of a point as soon as it is there."""
    used = ", ".join(f"{name} {one.memory[name] / MIB:,.0f} MiB and {one.processor[name]:.1f} s" for name in one.memory)
    return f"{one.pods:,} pods run on {one.nodes:,} nodes" + (f"; the last {one.new:,} took {used}" if used else "")


def _time(seconds: float) -> str:
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
