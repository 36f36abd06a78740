"""``kontinuum server``, ``controllers``, ``scheduler``, ``node``: one part in the foreground.

With a kubeconfig the controllers or the scheduler belong to no installation: nothing of one is read or made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kontinuum.cli import settings as composing
from kontinuum.cli import state
from kontinuum.cli.preparation import prepare
from kontinuum.cli.settings import Settings
from kontinuum.cli.slim import SLIM
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.files import replace_file


def run_part(name: str, *, data_dir: Path, config: Path | None, listen: str = "", store: str = "") -> None:
    """Make sure of directories and certificates, then become the part. Does not return."""
    settings = composing.load(data_dir=data_dir, listen=listen, store=store, config=config, environment=os.environ)
    prepare(settings, RealClock(), serves=name == "server")
    if name == "server":
        leave_word(settings)
    _become(name, settings)


def run_attached(name: str, *, kubeconfig: Path, config: Path | None, overrides: Mapping[str, Any]) -> None:
    """Become the part as a client of the API server that ``kubeconfig`` names. Does not return.

    Raises BadKubeconfig or SettingRefused at once, rather than in the log of what it becomes.
    """
    from kontinuum.client import kubeconfig as reading

    settings = composing.load(kubeconfig=kubeconfig, config=config, overrides=overrides, environment=os.environ)
    reading.load(kubeconfig, context=settings.context)
    _become(name, settings)


def leave_word(settings: Settings) -> None:
    """For commands that must know how the API server was started (``token``); a supervisor has said it already."""
    paths = settings.installation
    if state.read(paths.state) is None:
        replace_file(paths.told, composing.encode(settings), mode=0o600)


def _become(name: str, settings: Settings) -> None:
    told = os.memfd_create("settings", os.MFD_CLOEXEC)
    os.write(told, composing.encode(settings))
    os.lseek(told, 0, os.SEEK_SET)
    os.dup2(told, 0)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "kontinuum.cli.run", name], {**SLIM, **os.environ})
