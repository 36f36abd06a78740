"""A real Kontinuum on this machine, seen through the two programs a user has: ``kontinuum`` and ``kubectl``.

As a program, with a data directory, it removes the platform that a process of tests that was killed has left.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.kubectls import ENVIRONMENT, newest_kubectl
from tests.lifetimes import afterwards, kill
from tests.ports import free_port

from kontinuum.cli import state
from kontinuum.cli.installation import Installation
from kontinuum.client.kubeconfig import load

CLASSES = ("container", "sandbox", "microvm")
KONTINUUM = Path(sys.executable).with_name("kontinuum")
T = TypeVar("T")
Object = dict[str, Any]


class Never(AssertionError):
    """What a test waited for did not come."""


def wires(network: str) -> set[str]:
    """The interfaces behind which this host knows pods of ``network``, in CIDR notation."""
    routes = json.loads(_run(["ip", "-json", "route", "show", "root", network], check=True, timeout=10).stdout)
    return {route["dev"] for route in routes if "/" not in route["dst"]}


def processes(instance: str) -> set[str]:
    """The processes of this installation: in its cgroups, or with its run directory on their command line."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdigit() and instance in _told_about(directory):
                found.add(f"{(directory / 'comm').read_text().strip()} {directory.name}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _told_about(process: Path) -> str:
    return (process / "cgroup").read_text() + (process / "cmdline").read_text(errors="replace")


def wait_until(what: str, look: Callable[[], T], *, seconds: float = 60.0, every: float = 0.1) -> T:
    """Call ``look`` until it answers something true, and return that. Raises Never with the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Never(f"waited {seconds:g} s for {what}; last seen: {answer!r}")
        time.sleep(every)


@dataclass(frozen=True)
class Platform:
    """One running platform and its data directory."""

    data_dir: Path

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "kubeconfig"

    @contextmanager
    def removed_at_the_end(self) -> Iterator[None]:
        """Around everything that is done with the platform: nothing is left of it, even if this process is killed."""
        with afterwards(sys.executable, "-m", __name__, self.data_dir):
            try:
                yield
            finally:
                self.kontinuum("reset", "--yes")

    # -- the two programs

    def up(self, *arguments: str, listen: str = "", **settings: Object) -> None:
        """``kontinuum up`` in the background, at a free port unless told otherwise, with these settings. No machine
        waits for pods unless they say so: where pods come one after the other, one would be made for each of them."""
        config = self.data_dir.with_name("settings.yaml")
        config.write_text(json.dumps({"runtime": {"warm_machines": 0}, **settings}))
        listen = listen or f"127.0.0.1:{free_port()}"
        self.kontinuum("up", "--detach", "--listen", listen, "--config", str(config), *arguments)

    def kontinuum(self, *arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [str(KONTINUUM), *arguments, "--data-dir", str(self.data_dir)]
        return _run(command, check=check, timeout=timeout)

    def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        command = [str(newest_kubectl()), "--kubeconfig", str(self.kubeconfig), *arguments]
        return _run(command, stdin=stdin, check=check, timeout=timeout, **ENVIRONMENT)

    def state(self) -> state.PlatformState:
        """What ``status`` is made of, for those who look at it again and again: that is a program to be started."""
        found = state.read(Installation.at(self.data_dir).state)
        assert found is not None, f"no platform runs in {self.data_dir}"
        return found

    def part(self, name: str) -> state.PartState:
        return next(part for part in self.state().parts if part.name == name)

    def status(self) -> Object:
        answer: Object = json.loads(self.kontinuum("status", "--output", "json").stdout)
        return answer

    def complaints(self, *, lines: int = 30) -> str:
        """What each of our parts has last complained of, and whatever it said in no form at all, as Python does that
        dies; ``lines`` of each."""
        told = []
        for log in sorted((self.data_dir / "logs").glob("*.log")):
            if log.stem != "containerd":  # Every pod that ends is an error to it.
                found = [line for line in log.read_text(errors="replace").splitlines() if '"level":"info"' not in line]
                told += [f"-- {log.name}", *(line[:1000] for line in found[-lines:])] if found else []
        return "\n".join(told)

    # -- objects

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, name: str) -> Object:
        return self._read(f"{kind}s/{name}")

    def list(self, kind: str, *, labels: str = "") -> list[Object]:
        items: list[Object] = self._read(kind, labelSelector=labels)["items"]
        return items

    def delete(self, kind: str, name: str) -> None:
        """Of the core group. Nobody waits until it is gone: the platform's last user does (``wait_all_gone``)."""
        try:
            self._ask(f"{kind}s/{name}", method="DELETE")
        except HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise AssertionError(f"DELETE {kind} {name}: {error}") from error

    def events(self, name: str) -> list[Object]:
        """The events about the object called ``name``."""
        items: list[Object] = self._read("events", fieldSelector=f"involvedObject.name={name}")["items"]
        return items

    def _read(self, path: str, **query: str) -> Object:
        """An object or a list of the core group in the default namespace.

        Not by kubectl: what is waited for is looked at every tenth of a second, and starting a program for each look
        would keep the processor busy that the pods are waiting for.
        """
        try:
            return self._ask(path, **query)
        except OSError as error:
            raise AssertionError(f"GET {path}: {error}") from error

    def _ask(self, path: str, *, method: str = "GET", **query: str) -> Object:
        server, context = way_by(self.kubeconfig)
        url = f"{server}/api/v1/namespaces/default/{path}?{urlencode(query)}"
        with urlopen(Request(url, method=method), timeout=30, context=context) as answer:
            content: Object = json.load(answer)
        return content

    # -- waiting

    def wait_running(self, pod: str, *, seconds: float = 120) -> Object:
        """The pod, once it is Running with every container ready."""

        def look() -> Object | None:
            found = self.get("pod", pod)
            statuses = found.get("status", {}).get("containerStatuses", [])
            ready = bool(statuses) and all(status["ready"] for status in statuses)
            return found if found["status"].get("phase") == "Running" and ready else None

        try:
            return wait_until(f"pod {pod} to run", look, seconds=seconds)
        except Never as error:
            raise Never(f"{error}\n{self.kubectl('describe', 'pod', pod, check=False).stdout}") from None

    def wait_waiting(self, pod: str, reason: str, *, seconds: float = 120) -> Object:
        """The status of the pod's first container, once it waits for ``reason``."""

        def look() -> Object | None:
            statuses = self.get("pod", pod).get("status", {}).get("containerStatuses", [])
            waiting = statuses[0]["state"].get("waiting", {}) if statuses else {}
            return statuses[0] if waiting.get("reason") == reason else None

        try:
            return wait_until(f"container of {pod} to wait for {reason}", look, seconds=seconds)
        except Never as error:
            raise Never(f"{error}\n{self.kubectl('describe', 'pod', pod, check=False).stdout}") from None

    def wait_event(self, name: str, reason: str, *, seconds: float = 120) -> Object:
        """The first event about ``name`` with this reason."""
        return wait_until(
            f"event {reason} about {name}",
            lambda: next((event for event in self.events(name) if event["reason"] == reason), None),
            seconds=seconds,
        )

    def wait_gone(self, kind: str, *, labels: str, seconds: float = 120) -> None:
        wait_until(f"no {kind} with {labels}", lambda: not self.list(kind, labels=labels), seconds=seconds)

    def wait_all_gone(self) -> None:
        """Return when no pod of the default namespace is being deleted any more."""

        def ending() -> list[str]:
            return [one["metadata"]["name"] for one in self.list("pods") if "deletionTimestamp" in one["metadata"]]

        try:
            wait_until("pods that were deleted to be gone", lambda: not ending(), seconds=120, every=0.5)
        except Never as error:
            raise Never(f"{error}; left are {ending()}") from None


def way_by(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The server's address, and how to speak to it."""
    return _way(kubeconfig, kubeconfig.stat().st_mtime_ns)


@cache
def _way(kubeconfig: Path, written: int) -> tuple[str, ssl.SSLContext]:
    """As the file said that was written then: reading it, and its certificates, takes as long as a request does."""
    connection = load(kubeconfig)
    context = connection.tls_context()
    assert isinstance(context, ssl.SSLContext)
    return connection.server, context


def pod(name: str, isolation_class: str, command: str = "sleep 100000", **spec: Any) -> Object:
    """A one-container pod of busybox that runs ``command`` in a shell; ``container`` in ``spec`` overrides fields."""
    container = {
        "name": "main",
        "image": "localhost/busybox:1",
        "command": ["/bin/sh", "-c", command],
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"test": name}},
        "spec": {
            "runtimeClassName": isolation_class,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **spec,
        },
    }


def _run(
    command: list[str], *, stdin: str = "", check: bool, timeout: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": "/tmp", **environment}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, env=environment)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def _remove_all(data_dir: Path) -> None:
    """As at the end of ``removed_at_the_end``; again, while an ``up`` that nobody waits for any more goes on."""
    platform, instance = Platform(data_dir), Installation.at(data_dir).instance
    for _ in range(5):
        platform.kontinuum("reset", "--yes", check=False)
        if not processes(instance):
            return
        time.sleep(2)
    kill(*(int(found.rpartition(" ")[2]) for found in processes(instance)))


if __name__ == "__main__":
    _remove_all(Path(sys.argv[1]))
