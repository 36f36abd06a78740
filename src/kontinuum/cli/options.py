"""The options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="KONTINUUM_DATA_DIR", help="Where everything lives that survives a reboot."),
]
DEFAULT_DATA_DIR = Path("/var/lib/kontinuum")
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file (YAML). Default: settings.yaml in the data directory.")
]


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="A table for people or JSON for scripts.")]
