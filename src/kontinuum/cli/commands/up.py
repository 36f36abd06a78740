"""``kontinuum up``: writes the settings down for the supervisor and becomes it, or starts it and waits.

In the foreground it imports nothing that needs asyncio: the supervisor will, and everything else waits for it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from kontinuum.cli import settings as composing
from kontinuum.cli import state
from kontinuum.cli.exits import Exit
from kontinuum.cli.installation import RUN_MODE, Installation
from kontinuum.cli.logs import open_log
from kontinuum.foundation.addresses import AddressTaken, try_listen
from kontinuum.foundation.errors import Broken, Refused, Retryable
from kontinuum.foundation.files import make_directory, replace_file

READY_SECONDS = 90.0
"""A slow machine that imports images for the first time is ready long before."""

FREE_SECONDS = 5.0
"""How long the parts of a supervisor that fell may still hold their addresses; they were told to end when it did."""


class NotReady(Retryable):
    """The platform did not become ready; the message carries the log's last words."""


def up(*, data_dir: Path, listen: str, store: str = "", config: Path | None, nodes: int = 0, detach: bool) -> None:
    """See the module. Raises SettingRefused, AddressTaken, NotReady, Broken."""
    if os.geteuid() != 0:
        raise Broken("kontinuum up mounts, and makes cgroups and network namespaces: run it as root")
    settings = composing.load(
        data_dir=data_dir, listen=listen, store=store, config=config, environment=os.environ,
        overrides={"hosts": {"count": nodes}} if nodes else {},
    )  # fmt: skip
    paths = settings.installation
    running = state.read(paths.state)
    if running is not None:
        is_there_already(running, detach=detach)
        return
    if settings.member_of:
        raise Refused(f"{paths.data}: this machine is a member of {settings.member_of}; start it: kontinuum node")
    _wait_free(settings.server.listen)
    say = f"Kontinuum serves {settings.api_address}\n  export KUBECONFIG={paths.kubeconfig}"
    supervise(settings, detach=detach, say=say)


def supervise(settings: composing.Settings, *, detach: bool, say: str) -> None:
    """Become the supervisor of what the settings describe, or start it and wait; ``say`` is for the operator.

    Raises AddressTaken, NotReady.
    """
    paths, node = settings.installation, settings.node
    # The node's own address towards pods is made later, and so is the wire between hosts of one machine.
    own = (*node.gateways, settings.hosts.address_of(1))
    _wait_free(node.listens_at, early=node.address in own)
    make_directory(paths.run, mode=RUN_MODE)
    told = paths.told
    replace_file(told, composing.encode(settings), mode=0o600)
    command = supervisor_command(told)
    if detach:
        _start(command, paths)
    print(say, flush=True)
    if not detach:
        os.execv(command[0], command)


def supervisor_command(told: Path, *flags: str) -> list[str]:
    """The supervisor as a program of its own: slim, whatever the command line needed to import."""
    return [sys.executable, "-P", "-m", "kontinuum.cli.run", "supervisor", str(told), *flags]


def _start(command: list[str], paths: Installation) -> None:
    from kontinuum.foundation import process

    log = paths.logs / "supervisor.log"
    output = open_log(log)
    child = process.spawn(*command, stdout=output, stderr=output)
    os.close(output)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        now = state.read(paths.state)
        if now is not None and now.ready:
            break
        if not child.is_running():
            raise NotReady(f"the supervisor has ended: {process.last_words(log.read_bytes(), limit=600)}")
        if time.monotonic() > deadline:
            waiting = ", ".join(part.name for part in now.parts if part.state != "ready") if now else "everything"
            raise NotReady(f"not ready after {READY_SECONDS:g} s: {waiting or 'images or hosts'}; see {paths.logs}")
        time.sleep(0.02)


def _wait_free(listen: str, *, early: bool = False) -> None:
    """Better told now than found in the log of a part that never gets ready. Raises AddressTaken."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        try:
            try_listen(listen, early=early)
        except AddressTaken:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def is_there_already(running: state.PlatformState, *, detach: bool) -> None:
    if not detach:
        raise Refused(f"{running.data_dir}: a platform runs here already (supervisor {running.pid})")
    print(f"Kontinuum runs already: {running.address}")


def stop_pods_of_the_dead(settings: composing.Settings) -> None:
    """Stop the pods that a dead supervisor has left. Raises Broken if that failed."""
    import asyncio

    from kontinuum.foundation import process

    paths = settings.installation
    told = paths.told
    replace_file(told, composing.encode(settings), mode=0o600)
    done = asyncio.run(process.run(*supervisor_command(told, "--stop-pods"), timeout=120, check=False))
    if done.code != Exit.OK:
        raise Broken(f"stopping the pods that were left: {process.last_words(done.stderr)}")
