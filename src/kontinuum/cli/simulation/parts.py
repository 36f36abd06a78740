"""The real parts of a simulated cluster, each a process of its own, so that each one's memory and time can be told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kubernetes.resources import NAMESPACES
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli import assemble
from kontinuum.cli import settings as composing
from kontinuum.cli.logs import open_log
from kontinuum.cli.preparation import prepare
from kontinuum.cli.processes import memory_bytes
from kontinuum.cli.settings import Settings
from kontinuum.cli.simulation.scratch import DATA, remove_outside, scratch
from kontinuum.client.connect import connect
from kontinuum.client.kubeconfig import Connection
from kontinuum.foundation import process
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable

START_SECONDS = 60.0
NAMES = {"server": "API server", "manager": "controllers", "scheduler": "scheduler"}
CLIENTS = ("manager", "scheduler")
POD_NETWORK = "10.128.0.0/9"
"""Room for 32,768 nodes: the usual one has pieces for 256, and an event would be told again and again of all others."""


class PartFell(Retryable):
    """One of the simulated cluster's own parts has ended; its log says why."""


@dataclass(frozen=True)
class Parts:
    """What runs, and how to reach it."""

    connection: Connection
    """The administrator's."""
    children: dict[str, process.Child]
    logs: Path | None = None

    def memory(self) -> dict[str, int]:
        """Bytes of each part, by the name that a person would give it."""
        return {name: memory_bytes(pid) or 0 for name, pid in self._processes()}

    def processor(self) -> dict[str, float]:
        """Seconds of processor time that each has used up to now."""
        return {name: _processor_seconds(pid) for name, pid in self._processes()}

    def _processes(self) -> list[tuple[str, int]]:
        """Ours is the last: whoever asks how many pods two cores carry must count the nodes in."""
        theirs = [(NAMES[name], child.pid) for name, child in self.children.items()]
        return [*theirs, ("hollow nodes", os.getpid())] if theirs else []

    def check(self) -> None:
        """Raises PartFell if one has ended."""
        for name, child in self.children.items():
            if not child.is_running():
                raise PartFell(f"the simulation's {NAMES[name]} has ended; see {self.logs}/{name}.log")


@contextlib.asynccontextmanager
async def started(clock: Clock, *, store: str, keep: Path | None) -> AsyncIterator[Parts]:
    """Our API server on fresh data, controllers and scheduler as its clients; gone after the block.

    ``store``: as for ``kontinuum server``. ``keep``: where the data and the logs stay; None: thrown away.
    Raises PartFell, Retryable if they do not start.
    """
    with contextlib.ExitStack() as stack:
        if keep is None:
            data, lock = stack.enter_context(scratch())
            passed: tuple[int, ...] = (lock,)
        else:
            data, passed = keep / DATA, ()
            stack.callback(remove_outside, data)
        settings = composing.load(
            data_dir=data,
            listen=f"127.0.0.1:{_free_port()}",
            store=store,
            environment={},
            overrides={"log_level": "warning", "node": {"cluster_cidr": POD_NETWORK}},
        )
        prepare(settings, clock)
        paths = settings.installation
        children: dict[str, process.Child] = {}
        try:
            children["server"] = _spawn("server", settings, passed)
            parts = Parts(assemble.beside(settings, "admin"), children, paths.logs)
            await _wait_serving(parts, clock)
            for name in CLIENTS:
                children[name] = _spawn(name, settings, passed)
            yield parts
        finally:
            for child in reversed(children.values()):
                await child.stop(grace=10)
                child.close()


def _spawn(name: str, settings: Settings, passed: tuple[int, ...]) -> process.Child:
    """``passed``: the descriptors that it has beside its outputs."""
    told = os.memfd_create("settings", os.MFD_CLOEXEC)
    log = open_log(settings.installation.logs / f"{name}.log")
    try:
        os.write(told, composing.encode(settings))
        os.lseek(told, 0, os.SEEK_SET)
        command = (sys.executable, "-P", "-m", "kontinuum.cli.run", name)
        # However we end: a simulation that was killed must not leave a cluster running that nobody knows of.
        return process.spawn(*command, stdin=told, stdout=log, stderr=log, die_with_parent=True, pass_fds=passed)
    finally:
        os.close(told)
        os.close(log)


async def _wait_serving(parts: Parts, clock: Clock) -> None:
    client = connect(parts.connection)
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                parts.check()
                try:
                    await client.list(NAMESPACES, limit=1)
                    return
                except (ApiError, Retryable):
                    await clock.sleep(0.05)
    except TimeoutError as error:
        raise Retryable(f"the API server did not start within {START_SECONDS:g} s; see {parts.logs}") from error
    finally:
        await client.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
