"""Two ``kontinuum controllers --kubeconfig``: one works; when it is killed or frozen the other does, and never both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.serving import deployment
from tests.conformance.cluster import KUBECONFIG
from tests.lifetimes import BOUND
from tests.servers import KONTINUUM, Server, data_directory

from kontinuum.api.kubernetes.resources import DEPLOYMENTS, LEASES, PODS
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.clock import RealClock, parse_rfc3339
from kontinuum.foundation.pki import Authority
from kontinuum.foundation.tasks import cancel

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "RequestResponse", "verbs": ["create", "update"], "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete"]},
    ],
}
QUICKLY = {
    "KONTINUUM_CONTROLLERS__LEASE_DURATION_SECONDS": "4",
    "KONTINUUM_CONTROLLERS__RENEW_DEADLINE_SECONDS": "3",
    "KONTINUUM_CONTROLLERS__RETRY_PERIOD_SECONDS": "0.5",
}
LEASE = "kube-controller-manager"


class Candidate:
    """One of the processes, who is a user of its own, so that the audit log tells who wrote."""

    def __init__(self, server: Server, name: str) -> None:
        directory = server.data_dir.parent
        pki = server.data_dir / "pki"
        pair = Authority.ensure(pki, RealClock()).ensure_client(name, user=name, groups=["system:masters"])
        self.name = name
        self._log = directory / f"{name}.log"
        kubeconfig = directory / f"{name}.kubeconfig"
        kubeconfig.write_text(
            KUBECONFIG.format(
                server=f"https://{server.address}",
                authority=pki / "ca.crt",
                certificate=pair.certificate,
                key=pair.key,
            )
        )
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*BOUND, str(KONTINUUM), "controllers", "--kubeconfig", str(kubeconfig), "--identity", name],
                stdout=output,
                stderr=output,
                env={**os.environ, **QUICKLY},
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process.poll() is None, self._log.read_text()
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server() -> Iterator[Server]:
    with data_directory() as data:
        policy, log = data.parent / "policy.json", data.parent / "audit.log"
        policy.write_text(json.dumps(POLICY))
        audit = {"policy": str(policy), "log": str(log), "mode": "blocking"}
        one = Server(data, settings={"server": {"audit": audit}})
        one.start()
        try:
            yield one
        finally:
            one.kill()


@contextlib.asynccontextmanager
async def restless(client: Client) -> AsyncIterator[None]:
    """A Deployment that gives its controllers something to write all the time."""

    async def scale() -> None:
        size = 0
        while True:
            size = (size + 3) % 7
            with contextlib.suppress(ApiError):
                await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": size}}, namespace="default")
            await asyncio.sleep(0.2)

    await client.create(DEPLOYMENTS, deployment("web"), namespace="default")
    task = asyncio.create_task(scale())
    try:
        yield
    finally:
        await cancel(task)


async def wait_working(client: Client, name: str) -> None:
    """Return when ``name`` leads and pods are made anew; fails after a minute."""
    async with asyncio.timeout(60):
        while await holder_of(client) != name:
            await asyncio.sleep(0.05)
        before = (await client.list(PODS, namespace="default", limit=1)).resource_version
        async with contextlib.aclosing(client.watch(PODS, namespace="default", resource_version=before)) as events:
            async for event in events:
                if event.type == "ADDED":
                    return


async def holder_of(client: Client) -> str:
    try:
        lease = await client.get(LEASES, LEASE, namespace="kube-system")
    except ApiError as error:
        assert error.is_not_found
        return ""
    holder: str = lease["spec"]["holderIdentity"]
    return holder


def written_out_of_turn(log: Path, names: set[str]) -> list[str]:
    """The writes that arrived when another had already been given the Lease."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    events = [one for one in events if one["user"]["username"] in names]
    terms = sorted((parse_rfc3339(one["stageTimestamp"]), holder) for one in events if (holder := _taken_by(one)))
    found = []
    for event in events:
        who, when = event["user"]["username"], parse_rfc3339(event["requestReceivedTimestamp"])
        holders = [holder for since, holder in terms if since <= when]
        if event["objectRef"].get("resource") != "leases" and (not holders or holders[-1] != who):
            found.append(f"{when}: {who} {event['verb']} {event['requestURI']} while {holders[-1:]} led")
    assert {holder for _, holder in terms} == names
    return found


def _taken_by(event: dict[str, Any]) -> str:
    if event["objectRef"].get("resource") != "leases" or event["responseStatus"]["code"] >= 300:
        return ""
    holder: str = event["responseObject"]["spec"].get("holderIdentity") or ""
    return holder


async def test_the_controllers_take_turns_and_never_write_out_of_turn(server: Server) -> None:
    client = await server.connect()
    one = Candidate(server, "one")
    two = None
    try:
        async with restless(client):
            await wait_working(client, "one")
            two = Candidate(server, "two")
            one.signal(signal.SIGSTOP)
            await wait_working(client, "two")
            # In the middle of its work it was; it must notice before it goes on.
            one.signal(signal.SIGCONT)
            await asyncio.sleep(1)
            two.signal(signal.SIGKILL)
            await wait_working(client, "one")
            one.signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                while await holder_of(client):
                    await asyncio.sleep(0.05)
    finally:
        one.end()
        if two is not None:
            two.end()
        await client.close()
    assert written_out_of_turn(server.data_dir.parent / "audit.log", {"one", "two"}) == []
