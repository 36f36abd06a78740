"""``kontinuum doctor``: for each class and feature, whether this host can, how that was found out, what to change."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from kontinuum.cli import settings as composing
from kontinuum.cli.checks import Finding, examine
from kontinuum.cli.exits import Exit

SIGNS = {"yes": "[green]yes[/green]", "slowly": "[yellow]slowly[/yellow]", "no": "[red]no[/red]"}


def doctor(*, data_dir: Path, config: Path | None, as_json: bool) -> None:
    """Print the findings. Exits with BROKEN if a class that is offered cannot run here."""
    settings = composing.load(data_dir=data_dir, config=config, environment=os.environ)
    findings = asyncio.run(examine(settings))
    if as_json:
        print(json.dumps([finding.to_plain() for finding in findings], indent=2))
    else:
        _print_table(findings)
    if any(finding.can == "no" and finding.needed for finding in findings):
        raise SystemExit(Exit.BROKEN)


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What this host can do", show_lines=True)
    for heading in ("feature", "can", "found out by", "what to do"):
        table.add_column(heading)
    for finding in findings:
        table.add_row(finding.feature, SIGNS[finding.can], finding.evidence, finding.advice)
    Console().print(table)
