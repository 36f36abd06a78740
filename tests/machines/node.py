"""A node of its own for machine tests: containerd, the agent and its server, against an API in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from tests.machines import containerd

from kontinuum.api.kubernetes.resources import EVENTS, NODES, PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.transport.fake import FakeApi
from kontinuum.foundation import process
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import Authority, KeyPair
from kontinuum.foundation.tasks import cancel
from kontinuum.node import agent
from kontinuum.node.cri import CriClient
from kontinuum.node.settings import NodeSettings

NAME = "node-under-test"
IMAGE = "localhost/busybox:1"
POLL_SECONDS = 0.02


def pod(name: str, *command: str, **spec: Any) -> Object:
    """A pod of one container ``c``; ``spec`` goes into the pod's, ``container`` into the container's."""
    container = {"name": "c", "image": IMAGE, "command": list(command), **spec.pop("container", {})}
    spec = {"nodeName": NAME, "restartPolicy": "Always", "containers": [container], **spec}
    spec.setdefault("terminationGracePeriodSeconds", 1)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def sh(name: str, script: str, **spec: Any) -> Object:
    return pod(name, "sh", "-c", script, **spec)


class TestedNode:
    """What a test may do to the node and ask of it."""

    __test__ = False

    def __init__(self, settings: NodeSettings, cri: CriClient, admin: KeyPair, ca: Path) -> None:
        self.settings = settings
        self.cri = cri
        self.client = FakeApi().client()
        self._admin = admin
        self._ca = ca
        self._agent: asyncio.Task[None] | None = None

    async def start_agent(self) -> None:
        running = agent.run(self.client, RealClock(), self.settings, on_drain=self._remember_drain)
        self._agent = asyncio.create_task(running)
        async with asyncio.timeout(10):
            while not await self._is_registered():
                await asyncio.sleep(POLL_SECONDS)

    def _remember_drain(self, announce: Callable[[], None]) -> None:
        self.drain = announce

    async def stop_agent(self) -> None:
        if self._agent is not None:
            await cancel(self._agent)
        self._agent = None

    async def _is_registered(self) -> bool:
        if self._agent is not None and self._agent.done():
            self._agent.result()
        with contextlib.suppress(ApiError):
            node = await self.client.get(NODES, NAME)
            return bool((node.get("status") or {}).get("nodeInfo"))
        return False

    async def create(self, obj: Object) -> Object:
        return await self.client.create(PODS, obj)

    async def get(self, name: str) -> Object:
        return await self.client.get(PODS, name, namespace="default")

    async def wait(self, name: str, is_so: Callable[[Object], Any], *, seconds: float = 20) -> Object:
        """The pod once ``is_so``; the assertion that fails otherwise shows it as it last was."""
        found: Object = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    found = await self.get(name)
                    if (found.get("status") or {}).get("containerStatuses") and is_so(found):
                        return found
                    await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"after {seconds} s: {json.dumps(found.get('status'), indent=1)}")

    async def run(self, obj: Object, phase: str = "Running", *, seconds: float = 20) -> Object:
        """Create a pod and wait until it is in ``phase``."""
        await self.create(obj)
        return await self.wait(obj["metadata"]["name"], lambda one: one["status"]["phase"] == phase, seconds=seconds)

    async def delete(self, name: str, *, grace: int | None = None, seconds: float = 20) -> None:
        """Delete a pod and wait until the API has forgotten it."""
        await self.client.delete(PODS, name, namespace="default", grace_seconds=grace)
        await self.wait_gone(name, seconds=seconds)

    async def wait_gone(self, name: str, *, seconds: float = 20) -> None:
        """Until the API knows no pod of that name."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.get(name)
                except ApiError as error:
                    assert error.is_not_found
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of every event about the pod."""
        await asyncio.sleep(0.2)
        found = (await self.client.list(EVENTS, namespace="default")).items
        return [(one["reason"], one["message"]) for one in found if one["involvedObject"]["name"] == name]

    @contextlib.asynccontextmanager
    async def session(self, *, pair: KeyPair | None = None, anonymous: bool = False) -> AsyncIterator[Any]:
        """An HTTPS session with the node's server, as the API server has one."""
        context = ssl.create_default_context(cafile=str(self._ca))
        context.check_hostname = False
        if not anonymous:
            used = pair or self._admin
            context.load_cert_chain(used.certificate, used.key)
        port = (await self.client.get(NODES, NAME))["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(f"https://127.0.0.1:{port}", connector=connector) as session:
            yield session

    async def logs(self, name: str, container: str = "c", **query: Any) -> str:
        async with self.session() as session:
            params = {key: str(value) for key, value in query.items()}
            async with session.get(f"/containerLogs/default/{name}/{container}", params=params) as answer:
                text: str = await answer.text()
                assert answer.status == 200, text
                return text

    async def logs_with(self, name: str, word: str, container: str = "c", *, seconds: float = 10) -> str:
        """The log once ``word`` is in it, or as it is after ``seconds``."""
        text = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while word not in text:
                    text = await self.logs(name, container)
                    await asyncio.sleep(POLL_SECONDS)
        return text


@contextlib.asynccontextmanager
async def running_node(
    *, pod_cidr: str = "10.206.0.0/24", data_size: str = "", **more: Any
) -> AsyncIterator[TestedNode]:
    """``data_size``: give the node's data a file system of its own, so large; ``more`` are further settings."""
    with tempfile.TemporaryDirectory(prefix="kontinuum-node-") as directory:
        base = Path(directory)
        authority = Authority.ensure(base / "pki", RealClock())
        server = authority.ensure_server("node-server", common_name="node", hosts=["127.0.0.1"])
        admin = authority.ensure_client("admin", user="kube-apiserver-kubelet-client", groups=["system:masters"])
        settings = NodeSettings(
            data_dir=str(base / "data"), run_dir=str(base / "run"), name=NAME, address="127.0.0.1",
            listen="127.0.0.1:0", pod_cidr=pod_cidr, cluster_cidr=pod_cidr, client_ca=str(authority.certificate),
            certificate=str(server.certificate), key=str(server.key), observe_seconds=0.5, pod_pids_limit=64, **more,
        )  # fmt: skip
        async with _own_disk(settings.data, data_size), containerd.running(settings) as cri:
            node = TestedNode(settings, cri, admin, authority.certificate)
            await node.start_agent()
            try:
                yield node
            finally:
                await node.stop_agent()


@contextlib.asynccontextmanager
async def _own_disk(place: Path, size: str) -> AsyncIterator[None]:
    if not size:
        yield
        return
    containerd.enter_private_mounts()
    place.mkdir(parents=True)
    await process.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield
    finally:
        await process.run("umount", str(place))
