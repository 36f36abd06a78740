"""``kontinuum schedule --explain POD``: which filter refuses which node, and how each score arises."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kontinuum.cli import assemble
from kontinuum.cli import settings as composing
from kontinuum.cli.settings import Settings
from kontinuum.foundation.clock import RealClock

if TYPE_CHECKING:
    from kontinuum.scheduler.explaining import Explanation

ALL = 10_000
"""Characters of a table that goes into a pipe: its rows are not to be cut."""


def explain(
    pod: str,
    *,
    namespace: str,
    data_dir: Path,
    config: Path | None,
    kubeconfig: Path | None,
    context: str,
    as_json: bool,
) -> None:
    """Print why a pod goes where it goes. Raises NotExplained, NotRead, BadKubeconfig and SettingRefused."""
    if kubeconfig is not None:
        overrides = {"context": context}
        settings = composing.load(
            kubeconfig=kubeconfig, config=config, overrides=overrides, environment=composing.environment()
        )  # fmt: skip
    else:
        settings = composing.load(data_dir=data_dir, config=config, environment=composing.environment())
    found = asyncio.run(_explain(pod, namespace, settings))
    if as_json:
        print(json.dumps(describe(found), indent=2))
    else:
        _print(found)


async def _explain(pod: str, namespace: str, settings: Settings) -> Explanation:
    from kontinuum.scheduler import explaining

    client, default_namespace = assemble.reader(settings)
    try:
        reading = await explaining.gather(client, RealClock())
    finally:
        await client.close()
    return explaining.explain(f"{namespace or default_namespace}/{pod}", reading, settings.scheduler)


def describe(found: Explanation) -> dict[str, Any]:
    """The explanation as JSON: a node has either ``refusedBy`` and ``reasons``, or ``scores`` and their ``total``."""
    return {
        "pod": found.pod,
        "scheduler": found.scheduler,
        "boundTo": found.bound_to or None,
        "node": found.node or None,
        "message": found.message or None,
        "nodes": [
            {"node": one.node, "refusedBy": one.refused_by, "reasons": list(one.reasons)}
            if one.refused_by
            else {
                "node": one.node,
                "total": one.total,
                "scores": [
                    {"plugin": each.plugin, "points": each.points, "weight": each.weight} for each in one.scores
                ],
            }
            for one in found.verdicts
        ],
    }


def _print(found: Explanation) -> None:
    from rich.console import Console
    from rich.table import Table

    where = f", which is on {found.bound_to}," if found.bound_to else ""
    title = f"{found.pod}{where} as {found.scheduler} decides: {found.node or 'no node'}"
    plugins = next(([each.plugin for each in one.scores] for one in found.verdicts if one.scores), [])
    table = Table(title=title)
    table.add_column("node")
    table.add_column("total", justify="right")
    for plugin in plugins:
        table.add_column(plugin, justify="right")
    table.add_column("refused by")
    table.add_column("because")
    for one in found.verdicts:
        points = [f"{each.points} × {each.weight}" for each in one.scores] or [""] * len(plugins)
        total = "" if one.refused_by else str(one.total)
        table.add_row(one.node, total, *points, one.refused_by, ", ".join(one.reasons))
    console = Console(width=None if sys.stdout.isatty() else ALL)
    console.print(table)
    if found.message:
        console.print(found.message, highlight=False)
