"""A real etcd for tests: one member or several, on this machine, with or without TLS; each can be killed or stopped.

Its data is on a tmpfs, because these tests are about etcd's answers and not about a disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.lifetimes import BOUND
from tests.ports import free_ports

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.etcd import Access, EtcdStore

BINARY = shutil.which("etcd") or "/usr/bin/etcd"
MEMORY = Path("/dev/shm")
START_SECONDS = 30.0


@dataclass(slots=True)
class Member:
    """One etcd process."""

    name: str
    client: int
    peer: int
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            # Debian's etcd reads its settings from the environment too; ours come from here alone.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
            self.process = subprocess.Popen([*BOUND, *self.command], stdout=log, stderr=log, env=environment)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As the power does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass(slots=True)
class Cluster:
    """All members, and how to get at them."""

    members: list[Member]
    directory: Path
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    prefixes: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @property
    def address(self) -> str:
        return "etcd://" + ",".join(member.endpoint for member in self.members)

    def access(self, *, patience_seconds: float = 30.0, prefix: str = "", user: str = "", password: str = "") -> Access:
        """A way to a store of its own, unless a prefix is given."""
        return Access(
            endpoints=tuple(member.endpoint for member in self.members),
            prefix=prefix or f"/test/{next(self.prefixes)}/",
            authority=self.authority,
            certificate=self.certificate,
            key=self.key,
            user=user,
            password=password,
            patience_seconds=patience_seconds,
        )

    async def wait_whole(self) -> None:
        """Return when every member answers, by itself."""
        for member in self.members:
            alone = replace(self.access(patience_seconds=30), endpoints=(member.endpoint,))
            await (await EtcdStore.open(alone)).close()

    def let_in_only(self, user: str, *, password: str) -> None:
        """Turn on etcd's own authentication, for an administrator."""
        first = self.members[0]
        self.call(first, "auth/user/add", name=user, password=password)
        self.call(first, "auth/role/add", name="root")
        self.call(first, "auth/user/grant", user=user, role="root")
        self.call(first, "auth/enable")

    def call(self, member: Member, path: str, **body: object) -> Any:
        """etcd's API by HTTP, at one member; not with TLS, because etcd would have to be a client of itself."""
        return json.loads(self._fetch(member, f"/v3/{path}", "-d", json.dumps(body)))

    def is_leader(self, member: Member) -> bool:
        return "\netcd_server_is_leader 1\n" in self._fetch(member, "/metrics")

    def _fetch(self, member: Member, path: str, *options: str) -> str:
        # Debian's etcd-server comes without etcdctl.
        scheme, security = "http", list[str]()
        if self.authority is not None:
            scheme = "https"
            security = ["--cacert", str(self.authority), "--cert", str(self.certificate), "--key", str(self.key)]
        command = ["curl", "-sf", *security, *options, f"{scheme}://{member.endpoint}{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def etcd(count: int = 1, *, tls: bool = False, extra: Sequence[str] = ()) -> Iterator[Cluster]:
    """``count`` members that have found each other; they end with the block."""
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="kontinuum-etcd-", dir=parent) as name:
        cluster = _prepare(Path(name), count, tls=tls, extra=extra)
        try:
            for member in cluster.members:
                member.start()
            for member in cluster.members:
                _wait_listening(member)
            yield cluster
        finally:
            for member in cluster.members:
                member.kill()


def _prepare(directory: Path, count: int, *, tls: bool, extra: Sequence[str]) -> Cluster:
    ports = free_ports(2 * count)
    scheme = "https" if tls else "http"
    cluster = Cluster(members=[], directory=directory)
    security: list[str] = []
    if tls:
        pki = directory / "pki"
        authority = Authority.ensure(pki, RealClock())
        server = authority.ensure_server("server", common_name="etcd", hosts=("localhost", "127.0.0.1"))
        client = authority.ensure_client("client", user="kontinuum")
        cluster.authority, cluster.certificate, cluster.key = authority.certificate, client.certificate, client.key
        security = [f"--cert-file={server.certificate}", f"--key-file={server.key}"]
        security += [f"--trusted-ca-file={authority.certificate}", "--client-cert-auth"]
    # Between themselves members speak plainly: our servers' certificates are not made for being a client, and that
    # wire is not ours to test.
    peers = ",".join(f"m{n}=http://127.0.0.1:{ports[2 * n + 1]}" for n in range(count))
    for n in range(count):
        client_url, peer_url = f"{scheme}://127.0.0.1:{ports[2 * n]}", f"http://127.0.0.1:{ports[2 * n + 1]}"
        command = [
            BINARY, f"--name=m{n}", f"--data-dir={directory / f'm{n}'}", "--logger=zap", "--log-level=error",
            f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster={peers}", *security, *extra,
        ]  # fmt: skip
        cluster.members.append(Member(f"m{n}", ports[2 * n], ports[2 * n + 1], command, directory / f"m{n}.log"))
    return cluster


def _wait_listening(member: Member) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert member.process is not None and member.process.poll() is None, member.log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", member.client)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(member.log.read_text())
