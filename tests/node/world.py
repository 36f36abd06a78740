"""One node in virtual time: the real workers and agent, an API in memory, a fake runtime, files below a directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.node.fake_runtime import FakeRuntime

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi
from kontinuum.client.transport.fake.faults import Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node.agent import Agent
from kontinuum.node.checks import CheckFailed
from kontinuum.node.images import Puller
from kontinuum.node.port import Features, RuntimeFailed
from kontinuum.node.settings import NodeSettings
from kontinuum.node.sources import Sources
from kontinuum.node.static.folder import Folder
from kontinuum.node.status import HostFacts
from kontinuum.node.tokens import Tokens
from kontinuum.node.tools import Tools
from kontinuum.node.volumes.context import Context
from kontinuum.node.volumes.scratch import Scratch

NODE = "n1"
NONE = Features()


class Events:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.parts: list[tuple[str, str]] = []
        """Of each that is about a part of its object: the reason, and the part."""

    def event(self, obj: Object, type_: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.told.append((reason, message))
        if field_path:
            self.parts.append((reason, field_path))

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.told]


class FakeChecks:
    """Answers every check as ``is_well`` says at that moment."""

    def __init__(self) -> None:
        self.is_well = True
        self.asked = 0
        self.seconds = 0.0
        """How long each check takes."""
        self.never_ends = False
        """A check goes on beyond its time: whoever carries it out is stuck."""
        self.is_impossible = False
        """No check can be made at all."""
        self.impossible_times = 0
        """How many of the next checks cannot be made."""

    async def check(self, handler: Object, container: Object, container_id: str, ip: str, timeout: float) -> str:
        self.asked += 1
        await asyncio.sleep(min(self.seconds, timeout))
        if self.never_ends:
            await asyncio.Event().wait()
        self.impossible_times -= 1
        if self.is_impossible or self.impossible_times >= 0:
            raise RuntimeFailed("failed to exec in container")
        if not self.is_well or self.seconds > timeout:
            raise CheckFailed("unwell")
        return ""


class NoServices:
    """A cluster without services."""

    async def variables(self, pod: Object) -> dict[str, str]:
        return {}


class World:
    def __init__(self, directory: Path, features: Features = NONE) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.client = self.api.client()
        self.faults = Faults()
        """What is wrong between the node and the API."""
        ours = Client(self.api.channel(self.faults))
        self.runtime = FakeRuntime(self.clock)
        self.events = Events()
        self.checks = FakeChecks()
        cgroups = directory / "cgroup"
        for name in ("cpu", "memory", "pids"):
            (cgroups / name).mkdir(parents=True, exist_ok=True)
        sources = Sources(ours, self.clock)
        settings = NodeSettings(data_dir=str(directory / "data"), run_dir=str(directory / "run"))
        self.tools = Tools(
            client=ours, runtime=self.runtime, clock=self.clock, settings=settings,
            events=self.events, sources=sources, services=NoServices(), tokens=Tokens(ours, self.clock),
            puller=Puller(self.runtime, sources, self.clock, settings),
            scratch=Scratch(directory / "scratch", usual_bytes=64 << 20),
            checks=self.checks, host=HostFacts("192.0.2.1"),
            host_resolver={"servers": [], "searches": [], "options": []},
            node_cpu=2000, node_memory=1 << 30, features=features, cgroup_root=cgroups,
        )  # fmt: skip
        self.agent = Agent(self.tools, NODE)
        self._agent: asyncio.Task[None] | None = None

    async def start(self, *, static: Path | None = None, node: Object | None = None) -> None:
        """``static``: a folder of static pods. ``node``: the Node as the agent has seen it last."""
        self.agent = Agent(self.tools, NODE)
        if node is not None:
            self.agent.follow_node(lambda: node)
        if static is not None:
            node = {"metadata": {"name": NODE, "uid": "node-uid"}}
            self.agent.keep_static(Folder(static, NODE).look, lambda: node)
        self._agent = asyncio.create_task(self.agent.run())

    async def stop(self) -> None:
        if self._agent is not None and self._agent.done():
            self._agent.result()
        if self._agent is not None:
            await cancel(self._agent)
        self._agent = None

    async def create(self, pod: Object) -> Object:
        return await self.client.create(PODS, pod)

    async def get(self, name: str = "p") -> Object:
        return await self.client.get(PODS, name, namespace="default")

    async def exists(self, name: str = "p") -> bool:
        try:
            await self.get(name)
        except ApiError:
            return False
        return True

    async def wait(self, is_so: Callable[[Object], Any], name: str = "p", *, seconds: float = 60) -> Object:
        """The pod's status once ``is_so(status)``."""
        found: Object = {}
        for _ in range(int(seconds / 0.05)):
            found = (await self.get(name)).get("status") or {} if await self.exists(name) else {}
            if (found.get("containerStatuses") or found.get("phase") == "Failed") and is_so(found):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"after {seconds} s of virtual time: {found}")

    async def delete(self, name: str = "p", grace: int | None = None) -> None:
        await self.client.delete(PODS, name, namespace="default", grace_seconds=grace)


def pod(name: str = "p", **spec: Any) -> Object:
    spec = {"nodeName": NODE, "containers": [container("app")], "terminationGracePeriodSeconds": 30, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def container(name: str, **more: Any) -> Object:
    return {"name": name, "image": "app:1", "imagePullPolicy": "IfNotPresent", **more}


def volume_context(pod: Object, **given: Any) -> Context:
    """What the pod's volumes are given, at the epoch; a volume that needs more than is ``given`` finds None."""
    nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(Context))
    return Context(**nothing | {"pod": pod, "now": 0.0} | given)


def state(status: Object, index: int = 0) -> Object:
    found: Object = status["containerStatuses"][index]["state"]
    return found


def waiting(status: Object) -> str:
    return str((state(status).get("waiting") or {}).get("reason"))


def play(directory: Path, story: Callable[[World], Awaitable[None]], features: Features = NONE) -> World:
    """Run ``story`` against a started world in virtual time; nothing forbidden may have happened in it.

    ``features``: what the runtime can do.
    """
    worlds: list[World] = []

    async def main() -> None:
        world = World(directory, features)
        worlds.append(world)
        await world.start()
        try:
            await story(world)
        finally:
            await world.stop()

    virtual_time.run(main)
    assert worlds[0].runtime.violations == []
    return worlds[0]
