"""``kontinuum down``: tells the supervisor to take everything down, and waits until it has."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from kontinuum.cli import leftovers, namespace, state
from kontinuum.cli import settings as composing
from kontinuum.cli.commands.up import stop_pods_of_the_dead
from kontinuum.cli.installation import Installation
from kontinuum.cli.processes import is_alive
from kontinuum.foundation.errors import Retryable

DOWN_SECONDS = 120.0


class NotDown(Retryable):
    """The supervisor is still there, or pods are."""


def down(*, data_dir: Path, leave_pods: bool = False) -> None:
    """See the module. Nothing running is a success too. Raises NotDown."""
    paths = Installation.at(data_dir)
    running = state.read(paths.state)
    if running is not None:
        os.kill(running.pid, signal.SIGHUP if leave_pods else signal.SIGTERM)
        _wait_gone(running)
        if not leave_pods:
            leftovers.remove(paths)
        print("Kontinuum is down." + (" Pods run on." if leave_pods else ""))
        return
    if leave_pods or namespace.recorded(paths.run / "holder") is None:
        print("Kontinuum does not run.")
        return
    # The supervisor has died, or was told to leave the pods: the namespace's holder shows that some may be left.
    stop_pods_of_the_dead(composing.load(data_dir=data_dir, environment=os.environ))
    leftovers.remove(paths)
    print("Kontinuum is down. Its supervisor was gone before; the pods it had left are stopped.")


def _wait_gone(running: state.PlatformState) -> None:
    deadline = time.monotonic() + DOWN_SECONDS
    while is_alive(running.supervisor):
        if time.monotonic() > deadline:
            raise NotDown(f"supervisor {running.pid} still runs after {DOWN_SECONDS:g} s; see {running.data_dir}/logs")
        time.sleep(0.02)
