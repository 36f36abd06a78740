"""Where programs are. Apart from ``process``, so that whoever only asks need not import what runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path


def find_program(name: str, *, also: Sequence[Path] = ()) -> Path | None:
    """Where ``name`` is: in ``also`` first, then in PATH, then where Debian keeps administrators' programs."""
    path = os.pathsep.join([*map(str, also), os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None
