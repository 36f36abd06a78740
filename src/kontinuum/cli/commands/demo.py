"""``kontinuum demo``: one manifest, every isolation class, and a table of what came of it.

Uses what a user would use (``kubectl``, an HTTP request to each pod) and measures from the outside: the time from just
before ``kubectl apply`` until a watch shows the pod Running.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object, labels_of, name_of
from kontinuum.cli.installation import Installation
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation import process
from kontinuum.foundation.errors import Retryable

LABEL = "example=one-api"
NAMESPACE = "default"
APPS = ("web-container", "web-sandbox", "web-microvm")
TEMPLATE_PATIENCE = 30.0
"""Seconds; a pod does without a template if there is none by then."""
PATIENCE = 180.0
"""Seconds until the demo gives up on a pod; the first microVM of a machine boots its template first."""


class DemoFailed(Retryable):
    """A pod of the demo did not come up or did not answer; the message says which and where to look."""


@dataclass
class Observed:
    """What a watch has shown of the demo's pods so far."""

    began: float
    pods: dict[str, Object] = field(default_factory=dict)
    running_after: dict[str, float] = field(default_factory=dict)
    """Milliseconds from ``began`` to Running, of pods that were seen getting there."""

    def note(self, kind: str, pod: Object) -> None:
        name = name_of(pod)
        if kind == "DELETED":
            self.pods.pop(name, None)
            return
        if pod["status"].get("phase") == "Running" and self._was_pending(name):
            self.running_after[name] = (time.monotonic() - self.began) * 1000
        self.pods[name] = pod

    def _was_pending(self, name: str) -> bool:
        return name in self.pods and self.pods[name]["status"].get("phase") != "Running"

    def ready(self) -> bool:
        """Every replica of each Deployment is there and ready."""
        apps = [labels_of(pod).get("app") for pod in self.pods.values() if _is_ready(pod)]
        return all(apps.count(app) >= 2 for app in APPS) and len(apps) == len(self.pods)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    isolation_class: str
    node: str
    address: str
    kernel: str
    milliseconds: float | None
    page: int
    """Bytes of the page that the pod served."""


async def run(*, installation: Installation, manifest: Path, console: Console) -> None:
    """Apply ``manifest`` to the installation's platform, wait, look at every pod, print the table.

    Raises DemoFailed, process.ProgramFailed (kubectl refused), client errors.
    """
    config = installation.kubeconfig
    with console.status("waiting for the template of microVMs ..."):
        await _wait_template(installation.templates)
    client = connect(kubeconfig.load(config), user_agent="kontinuum-demo")
    try:
        with console.status("waiting for the pods ..."):
            observed = await _apply_and_watch(client, config=config, manifest=manifest)
            rows = [await _look_at(pod, config=config, observed=observed) for pod in _sorted(observed.pods)]
    finally:
        await client.close()
    console.print(_table(rows))
    console.print(f"\nThe host's kernel is {os.uname().release}; each microVM runs its own, each sandbox gVisor's.")
    console.print(f"Each pod served its page ({rows[0].page} bytes).\n")
    console.print(_how_to_go_on(config), markup=False, highlight=False)


async def _wait_template(templates: Path) -> None:
    """The first start on a machine boots the template first; it is no part of what a pod costs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TEMPLATE_PATIENCE):
            while True:
                if any(templates.glob("*/state")) and not any(templates.glob("*.partial")):
                    return
                await asyncio.sleep(0.1)


async def _apply_and_watch(client: Client, *, config: Path, manifest: Path) -> Observed:
    before = await client.list(PODS, namespace=NAMESPACE, labels=LABEL)
    observed = Observed(began=time.monotonic())
    for pod in before.items:
        observed.note("ADDED", pod)
    applied = await process.run("kubectl", "--kubeconfig", config, "apply", "-f", manifest, timeout=60)
    if observed.ready() and all(line.endswith("unchanged") for line in applied.text.splitlines()):
        return observed
    try:
        async with asyncio.timeout(PATIENCE):
            await _watch(client, observed, resource_version=before.resource_version)
    except TimeoutError:
        late = ", ".join(name for name, pod in observed.pods.items() if not _is_ready(pod)) or "no pod was created"
        raise DemoFailed(
            f"not ready after {PATIENCE:g} s: {late}; see: kubectl --kubeconfig {config} describe pods -l {LABEL}"
        ) from None
    return observed


async def _watch(client: Client, observed: Observed, *, resource_version: str) -> None:
    """Note every change of the demo's pods until all of them are ready."""
    while not observed.ready():
        with contextlib.suppress(Retryable):
            async for event in client.watch(PODS, namespace=NAMESPACE, labels=LABEL, resource_version=resource_version):
                resource_version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK":
                    observed.note(event.type, event.object)
                if observed.ready():
                    return
        await asyncio.sleep(0.2)


async def _look_at(pod: Object, *, config: Path, observed: Observed) -> Row:
    name, address = name_of(pod), pod["status"]["podIP"]
    kernel = await process.run(
        "kubectl", "--kubeconfig", config, "exec", "-n", NAMESPACE, name, "--", "uname", "-r", timeout=60
    )
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/") as response:
            page = await response.read()
            response.raise_for_status()
    except aiohttp.ClientError as error:
        raise DemoFailed(f"fetching the page of {name} at {address}: {error}") from error
    return Row(
        name=name,
        isolation_class=pod["spec"].get("runtimeClassName", "container"),
        node=pod["spec"]["nodeName"],
        address=address,
        kernel=kernel.text,
        milliseconds=observed.running_after.get(name),
        page=len(page),
    )


def _table(rows: list[Row]) -> Table:
    table = Table(title="one image, one manifest, every isolation class")
    for heading in ("pod", "class", "node", "pod IP", "kernel inside"):
        table.add_column(heading, no_wrap=True)
    table.add_column("apply → Running", justify="right", no_wrap=True)
    for row in rows:
        took = "was running" if row.milliseconds is None else f"{row.milliseconds:.0f} ms"
        table.add_row(row.name, row.isolation_class, row.node, row.address, row.kernel, took)
    return table


def _how_to_go_on(config: Path) -> str:
    return "\n".join(
        (
            "Go on with:",
            f"  export KUBECONFIG={config}",
            "  kubectl get pods -o wide",
            "  kubectl logs deployment/web-microvm",
            "  kubectl exec -it deployment/web-microvm -- sh",
            "  .venv/bin/kontinuum status",
            "  .venv/bin/kontinuum down      # stops everything, keeps the data",
        )
    )


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def _sorted(pods: dict[str, Object]) -> list[Object]:
    return [pods[name] for name in sorted(pods)]
