"""``kontinuum down``: tells the supervisor to take everything down, and waits until it has."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from kontinuum.cli import hosts, leftovers, namespace, state
from kontinuum.cli import settings as composing
from kontinuum.cli.commands.up import stop_pods_of_the_dead
from kontinuum.cli.installation import Installation
from kontinuum.cli.keeper import State
from kontinuum.cli.processes import is_alive
from kontinuum.foundation.addresses import has_interface
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Retryable
from kontinuum.node.settings import NodeSettings
from kontinuum.node.shutdown import progress
from kontinuum.node.shutdown.plan import ON_COMMAND

DOWN_SECONDS = 120.0


DRAIN_SLACK_SECONDS = 30.0
"""How much longer than the pods' own time their end may take on a busy machine."""


class NotDrained(Retryable):
    """The node could not be told to end its pods, or has not said that they have ended."""


class NotDown(Retryable):
    """The supervisor is still there, or pods are."""


def down(*, data_dir: Path, leave_pods: bool = False, drain: bool = False) -> None:
    """See the module. Nothing running is a success too. Raises NotDown, and NotDrained if pods were to ``drain``."""
    paths = Installation.at(data_dir)
    running = state.read(paths.state)
    if running is not None:
        if drain:
            _drain(running, composing.load(data_dir=data_dir, environment=os.environ).node)
        os.kill(running.pid, signal.SIGHUP if leave_pods else signal.SIGTERM)
        _wait_gone(running)
        if not leave_pods:
            _remove(paths)
        print("Kontinuum is down." + (" Pods run on." if leave_pods else ""))
        return
    if leave_pods or namespace.recorded(paths.run / "holder") is None:
        if not leave_pods:
            _remove_hosts(paths)
        print("Kontinuum does not run.")
        return
    # The supervisor has died, or was told to leave the pods: the namespace's holder shows that some may be left.
    stop_pods_of_the_dead(composing.load(data_dir=data_dir, environment=os.environ))
    _remove(paths)
    print("Kontinuum is down. Its supervisor was gone before; the pods it had left are stopped.")


def _drain(running: state.PlatformState, settings: NodeSettings) -> None:
    """Have the agent end its pods in order, and wait until it has. Raises NotDrained."""
    agent = next((part for part in running.parts if part.name == "node"), None)
    if agent is None or agent.pid is None or agent.state != State.READY:
        raise NotDrained(
            "the node agent does not run, and nobody else ends pods in order; try again, or without --drain"
        )
    os.kill(agent.pid, signal.SIGUSR1)
    groups = settings.shutdown_groups or ON_COMMAND
    deadline = time.monotonic() + sum(one.seconds for one in groups) + DRAIN_SLACK_SECONDS
    while True:
        told = progress.read(settings.shutdown_file)
        if told is not None and told.pid == agent.pid and told.over:
            print(f"The node's pods have ended{f', but for {told.left}' if told.left else ''}.")
            return
        if time.monotonic() > deadline:
            left = "" if told is None else f": {told.left} are left"
            raise NotDrained(f"the pods have not ended in their time{left}; see {agent.log}")
        time.sleep(0.1)


def _remove(paths: Installation) -> None:
    _remove_hosts(paths)
    leftovers.remove(paths)


def _remove_hosts(paths: Installation) -> None:
    """Nothing of this installation's runs any more, so neither do the hosts that it has made."""
    if hosts.known(paths) or has_interface(hosts.bridge_of(paths)):
        asyncio.run(hosts.remove_all(paths, RealClock()))


def _wait_gone(running: state.PlatformState) -> None:
    deadline = time.monotonic() + DOWN_SECONDS
    while is_alive(running.supervisor):
        if time.monotonic() > deadline:
            raise NotDown(f"supervisor {running.pid} still runs after {DOWN_SECONDS:g} s; see {running.data_dir}/logs")
        time.sleep(0.02)
