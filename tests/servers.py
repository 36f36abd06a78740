"""``kontinuum server`` as processes of their own, which tests kill as the power would.

A ``Server`` begins as a user's does. Where hundreds of starts are needed, ``WarmServers`` forks each one out of a
process that has imported everything already: from then on it is the same program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from tests.lifetimes import BOUND
from tests.ports import free_port

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli import settings as composing
from kontinuum.cli.installation import Installation
from kontinuum.cli.preparation import prepare
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.errors import Retryable
from kontinuum.store.etcd import Access

KONTINUUM = Path(sys.executable).with_name("kontinuum")
WARM = Path(__file__).with_name("warm_server.py")


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """A new data directory; nothing of its server is left after the block."""
    with tempfile.TemporaryDirectory(prefix="kontinuum-server-") as name:
        installation = Installation.at(Path(name) / "data")
        installation.data.mkdir()
        try:
            yield installation.data
        finally:
            # Outside the data directory a server on its own leaves its socket, and two directories as any part would.
            for file in (installation.api_socket, installation.api_tokens, installation.told):
                file.unlink(missing_ok=True)
            for outside in (installation.run, installation.templates):
                if outside.exists():
                    outside.rmdir()


def settings_for(access: Access) -> dict[str, Any]:
    """The settings ``store.*`` for an etcd."""
    paths = {"certificate_authority": access.authority, "certificate": access.certificate, "key": access.key}
    return {
        "address": "etcd://" + ",".join(access.endpoints),
        "prefix": access.prefix,
        "patience_seconds": access.patience_seconds,
        **{name: str(path) for name, path in paths.items() if path is not None},
    }


class Server:
    """``kontinuum server`` on a data directory of its own, optionally one that is a small disk of its own."""

    def __init__(self, data_dir: Path, *, disk: str | None = None, settings: Mapping[str, Any] | None = None) -> None:
        """``disk``: what mount(8) is told to put on the data directory. ``settings``: what ``settings.yaml`` says."""
        self.data_dir = data_dir
        self.address = f"127.0.0.1:{free_port()}"
        self._disk = disk
        self._process: subprocess.Popen[bytes] | None = None
        if settings is not None:
            (data_dir / "settings.yaml").write_text(json.dumps(settings))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has said up to now."""
        return (self.data_dir.parent / "server.log").read_text()

    def trust(self, other: Server) -> None:
        """Take over the authority and the keys of another server, as servers side by side must."""
        shutil.copytree(other.data_dir / "pki", self.data_dir / "pki")

    def start(self) -> None:
        command = [str(KONTINUUM), "server", "--data-dir", str(self.data_dir), "--listen", self.address]
        if self._disk is not None:
            # In a mount namespace of its own, so that the disk is gone with the process, however it ends.
            mount = f'mount --make-rprivate / && mount {self._disk} "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, str(self.data_dir), *command]
        with (self.data_dir.parent / "server.log").open("ab") as output:
            self._process = subprocess.Popen([*BOUND, *command], stdout=output, stderr=output)

    def wait_listening(self) -> None:
        """Return when the server takes connections; fails after ninety seconds, or when it has ended."""
        host, _, port = self.address.rpartition(":")
        deadline = time.monotonic() + 90
        while True:
            assert self._process is not None and self._process.poll() is None, self.log
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def exit_code(self, *, seconds: float) -> int:
        """Wait for the process to end by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def files(self) -> Path:
        """The data directory as the server sees it."""
        return Path(f"/proc/{self.pid}/root/{self.data_dir}")

    async def connect(self) -> Client:
        """A client, as soon as the server answers."""
        async with asyncio.timeout(90):
            while not (self.files / "kubeconfig").exists():
                assert self._process is not None and self._process.poll() is None, self.log
                await asyncio.sleep(0.05)
        client = connect(kubeconfig.load(self.files / "kubeconfig"))
        await wait_answering(client)
        return client


async def wait_answering(client: Client) -> None:
    """Return when the server answers; fails after ninety seconds."""
    async with asyncio.timeout(90):
        while True:
            try:
                await client.list(CONFIGMAPS, namespace="default", limit=1)
            except (Retryable, ApiError):
                await asyncio.sleep(0.01)
            else:
                return


@contextlib.asynccontextmanager
async def requesting(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    """Requests as the administrator, whose answers are shown as they are."""
    pki = server.data_dir / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://{server.address}", connector=connector) as session:
        yield session


class WarmServers:
    """See the module. ``with`` it; ``start`` answers the new server's process id."""

    def __init__(self, data_dir: Path, settings: Mapping[str, Any] | None = None) -> None:
        self._data = data_dir
        if settings is not None:
            (data_dir / "settings.yaml").write_text(json.dumps(settings))
        self.address = f"127.0.0.1:{free_port()}"
        self._settings = data_dir / "told.json"

    def __enter__(self) -> WarmServers:
        settings = composing.load(data_dir=self._data, listen=self.address, environment={})
        prepare(settings, RealClock())
        self._settings.write_bytes(composing.encode(settings))
        self.kubeconfig = settings.installation.kubeconfig
        with (self._data.parent / "server.log").open("ab") as output:
            self._warm = subprocess.Popen(
                [sys.executable, "-P", str(WARM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._warm.communicate()

    def start(self) -> int:
        assert self._warm.stdin is not None and self._warm.stdout is not None
        self._warm.stdin.write(f"{self._settings}\n".encode())
        self._warm.stdin.flush()
        return int(self._warm.stdout.readline())

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until nothing of the process is left."""
        watched = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(watched, signal.SIGKILL)
            select.select([watched], [], [], 30)
        finally:
            os.close(watched)
