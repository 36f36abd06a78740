"""An API server with the controllers, on a thread of its own, and kubectl programs that talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.apiserver.serving import make_certificates, serving
from tests.kubectls import ENVIRONMENT
from tests.store.etcd import etcd
from tools.kubectl import minor_of

from kontinuum.apiserver.authz.defaults.own import CONTROLLER_MANAGER
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.controllers import manager
from kontinuum.controllers.settings import ControllersSettings
from kontinuum.foundation import jwt
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority
from kontinuum.store.etcd import EtcdStore
from kontinuum.store.port import Store
from kontinuum.store.sqlite import SqliteStore

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{server}", certificate-authority: "{authority}"}}}}]
users: [{{name: admin, user: {{client-certificate: "{certificate}", client-key: "{key}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: admin}}}}]
current-context: here
"""

STORES = ("sqlite", "etcd")
"""What a server keeps its objects in: a file, or three members of etcd that are spoken to by TLS."""


@contextlib.contextmanager
def running_on(store: str, directory: Path) -> Iterator[Cluster]:
    """A cluster on one of ``STORES``."""
    with contextlib.ExitStack() as stack:
        if store == "etcd":
            members = stack.enter_context(etcd(3, tls=True))
            yield stack.enter_context(Cluster(directory, lambda: EtcdStore.open(members.access())))
        else:
            yield stack.enter_context(Cluster(directory, lambda: SqliteStore.open(directory / "store.db")))


class Cluster:
    """A context manager; ``kubeconfig`` is there inside it."""

    def __init__(self, directory: Path, open_store: Callable[[], Awaitable[Store]]) -> None:
        self._directory = directory
        self._open_store = open_store
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.kubeconfig = directory / "kubeconfig"

    def __enter__(self) -> Cluster:
        self._thread.start()
        assert self._ready.wait(60), "the server did not start"
        return self

    def add_namespace(self, name: str) -> None:
        """Return when pods can be made in it. Not by kubectl, of which hundreds would start for nothing else."""
        connection = kubeconfig.load(self.kubeconfig)
        context = connection.tls_context()
        assert isinstance(context, ssl.SSLContext)
        namespaces = f"{connection.server}/api/v1/namespaces"
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(namespaces, json.dumps(made).encode(), headers), timeout=60, context=context):
            pass
        deadline = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"{namespaces}/{name}/serviceaccounts/default", timeout=60, context=context):
                    return
            except HTTPError:
                assert time.monotonic() < deadline, f"{name} has got no service account"
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        certificates = make_certificates(self._directory)
        store = await self._open_store()
        signing_key = self._directory / "sa.key"
        jwt.ensure_key(signing_key)
        async with serving(store, certificates, service_account_key=signing_key) as api:
            authority = Authority.ensure(self._directory, RealClock())
            # As in earnest, so that tests notice what the controllers' roles do not allow.
            controllers = authority.ensure_client("controllers", user=CONTROLLER_MANAGER)
            theirs = self._directory / "controllers.kubeconfig"
            for path, pair in ((self.kubeconfig, certificates.admin), (theirs, controllers)):
                text = KUBECONFIG.format(
                    server=api.address, authority=certificates.authority, certificate=pair.certificate, key=pair.key
                )
                path.write_text(text)
            client = connect(kubeconfig.load(theirs))
            settings = ControllersSettings(
                service_account_key=str(signing_key),
                load_balancer_pool="192.0.2.0/28",
                cluster_cidrs="10.244.0.0/16",
                signing_certificate=str(certificates.authority),
                signing_key=str(certificates.authority.with_suffix(".key")),
            )
            working = asyncio.create_task(manager.run(client, RealClock(), settings))
            self._ready.set()
            await self._stop.wait()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await client.close()
        await store.close()


class Kubectl:
    """One version of kubectl, in one namespace. Calling it runs a command and returns what it printed."""

    def __init__(self, program: Path, cluster: Cluster, home: Path, namespace: str) -> None:
        self._program = program
        self.namespace = namespace
        self._home = home
        self._environment = {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home), "PATH": os.environ["PATH"]}
        self._environment |= ENVIRONMENT

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        result = self._run(arguments, stdin, environment)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def fails(self, *arguments: str, stdin: str = "") -> str:
        """What a command that must fail says."""
        result = self._run(arguments, stdin)
        assert result.returncode != 0, f"kubectl {' '.join(arguments)} should have failed: {result.stdout}"
        return result.stderr

    def exits(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """The exit code of a command, and what it printed."""
        result = self._run(arguments, stdin)
        return result.returncode, result.stdout

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on until the block ends; its output can be read."""
        with subprocess.Popen(
            self._command(arguments), env=self._environment, stdout=subprocess.PIPE, text=True
        ) as one:
            try:
                yield one
            finally:
                one.kill()

    def warns(self, *arguments: str, stdin: str = "") -> str:
        """What a command that succeeds says beside its answer."""
        result = self._run(arguments, stdin)
        assert result.returncode == 0, result.stderr
        return result.stderr

    def eventually(self, expected: str, *arguments: str) -> None:
        """Repeat a command, which may fail at first, until it prints ``expected``; fails after a minute."""
        deadline = time.monotonic() + 60
        while (result := self._run(arguments, "")).returncode or result.stdout != expected:
            said = result.stderr or result.stdout
            assert time.monotonic() < deadline, f"kubectl {' '.join(arguments)}: still {said!r}, not {expected!r}"
            time.sleep(0.1)

    @cached_property
    def minor(self) -> int:
        """20 for kubectl 1.20. What is checked by the client and what by the server changed with 25."""
        return minor_of(self._program)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(self._program), f"--namespace={self.namespace}", *arguments]

    def _run(
        self, arguments: tuple[str, ...], stdin: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments),
            input=stdin,
            env=self._environment | dict(environment or {}),
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
