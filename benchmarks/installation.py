"""A Kontinuum of a benchmark's own, thrown away afterwards; in the foreground, so that its start can be timed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation import process
from kontinuum.foundation.errors import KontinuumError

KONTINUUM = Path(sys.executable).with_name("kontinuum")
PATIENCE = 240.0
"""Seconds until a first write: under valgrind a start takes a minute where others work too."""
SETTINGS = """\
node:
  pod_cidr: 10.211.0.0/24
server:
  service_cidrs: 10.212.0.0/24
"""


@dataclass(frozen=True)
class Installation:
    """A platform that accepts writes."""

    data_dir: Path
    client: Client
    seconds_to_first_write: float
    """From the start of ``kontinuum up`` on fresh data until a first object was created."""
    began: float
    """``time.monotonic()`` of that start."""


@contextlib.asynccontextmanager
async def fresh() -> AsyncIterator[Installation]:
    """Bring a platform up on fresh data, and take it down again with all it made."""
    parent = Path(tempfile.mkdtemp(prefix="kontinuum-bench-"))
    data_dir = parent / "data"
    (parent / "settings.yaml").write_text(SETTINGS)
    where = ("--data-dir", data_dir)
    began = time.monotonic()
    child = process.spawn(
        KONTINUUM, "up", *where, "--listen", "127.0.0.1:16443", "--config", parent / "settings.yaml", capture=True
    )
    try:
        client = await _first_write(data_dir / "kubeconfig")
        took = time.monotonic() - began
        try:
            yield Installation(data_dir, client, took, began)
        finally:
            await client.close()
    finally:
        await process.run(KONTINUUM, "down", *where, timeout=120, check=False)
        await process.run(KONTINUUM, "reset", "--yes", *where, timeout=60, check=False)
        await child.stop(grace=30)
        child.close()
        shutil.rmtree(parent, ignore_errors=True)


class ServerAlone:
    """An API server and nothing else, in a process that can be started again on the same data."""

    def __init__(self, data_dir: Path, *, bare: bool = False, port: int = 16443, under: Sequence[str] = ()) -> None:
        """``under``: the words of a program that runs it."""
        self.data_dir = data_dir
        self._under = under
        self._bare = bare
        self._port = port
        self.kubeconfig = data_dir / "kubeconfig"
        self._child: process.Child | None = None

    async def start(self) -> float:
        """Returns the seconds until it is ready to serve."""
        began = time.monotonic()
        where = ("--data-dir", self.data_dir, "--listen", f"127.0.0.1:{self._port}")
        if self._bare:
            self._child = process.spawn(sys.executable, "-m", "benchmarks.bare", *where, capture=True)
        else:
            self._child = process.spawn(*self._under, sys.executable, KONTINUUM, "server", *where, capture=True)
        await (await _first_write(self.kubeconfig)).close()
        return time.monotonic() - began

    async def restart(self) -> float:
        """Kill it and start it again; returns the seconds until it has accepted a write."""
        await self.stop()
        return await self.start()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(grace=30)
            self._child.close()
            self._child = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def resident_bytes(self) -> int:
        assert self._child is not None
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def server_alone(*, bare: bool = False, port: int = 16443) -> AsyncIterator[ServerAlone]:
    """Start an API server on fresh data with its default settings, and throw it away afterwards.

    ``bare``: without authentication, authorization, admission and managedFields (``benchmarks.bare``).
    """
    parent = Path(tempfile.mkdtemp(prefix="kontinuum-bench-"))
    alone = ServerAlone(parent / "data", bare=bare, port=port)
    try:
        await alone.start()
        yield alone
    finally:
        await alone.stop()
        shutil.rmtree(parent, ignore_errors=True)


async def _first_write(config: Path) -> Client:
    deadline = time.monotonic() + PATIENCE
    metadata = {"generateName": "first-"}
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"is": "accepted"}}
    while not config.exists() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    # One client that asks again: a new one each time would take the core away from what is measured.
    client = connect(kubeconfig.load(config), user_agent="kontinuum-benchmark")
    while time.monotonic() < deadline:
        try:
            await client.create(CONFIGMAPS, first, namespace="default")
            return client
        except KontinuumError:
            await asyncio.sleep(0.005)
    await client.close()
    raise TimeoutError(f"no write was accepted within {PATIENCE:g} s; see the logs beside {config}")
