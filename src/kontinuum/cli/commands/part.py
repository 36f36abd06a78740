"""``kontinuum server``, ``controllers``, ``node``: one part in the foreground, as the supervisor would start it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kontinuum.cli import settings as composing
from kontinuum.cli.preparation import prepare
from kontinuum.foundation.clock import RealClock


def run_part(name: str, *, data_dir: Path, config: Path | None, listen: str = "", store: str = "") -> None:
    """Make sure of directories and certificates, then become the part. Does not return."""
    settings = composing.load(data_dir=data_dir, listen=listen, store=store, config=config, environment=os.environ)
    prepare(settings, RealClock())
    told = os.memfd_create("settings", os.MFD_CLOEXEC)
    os.write(told, composing.encode(settings))
    os.lseek(told, 0, os.SEEK_SET)
    os.dup2(told, 0)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "kontinuum.cli.run", name])
