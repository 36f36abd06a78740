"""However the steps of two servers interleave: never more than a quota allows, and nobody refused while there is room.

Every call of the store, and every change that a server hears of, waits until hypothesis lets it go on. So it searches
the orders in which things can happen; time is virtual.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import CONFIGMAPS, PODS, RESOURCEQUOTAS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.quota.charging import charging
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import AlreadyExists, Change, Page, Record

HARD = 3


class Gates:
    """Where everybody waits. ``choices`` say who goes on next; when they are used up, the first in line."""

    def __init__(self, choices: list[int]) -> None:
        self._choices = iter(choices)
        self._waiting: list[asyncio.Future[None]] = []
        self.is_open = True

    async def wait(self) -> None:
        if self.is_open:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def run(self) -> None:
        while True:
            # All that can happen without the store happens first.
            await asyncio.sleep(0.001)
            self._waiting = [one for one in self._waiting if not one.done()]
            if self._waiting:
                chosen = next(self._choices, 0) % len(self._waiting)
                self._waiting.pop(chosen).set_result(None)


class SteppedStore(MemoryStore):
    """A server's way to the common store: every step waits at the gates."""

    def __init__(self, common: MemoryStore, gates: Gates) -> None:
        super().__init__()
        self._common = common
        self._gates = gates

    async def create(self, key: str, value: bytes) -> Record:
        await self._gates.wait()
        return await self._common.create(key, value)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        await self._gates.wait()
        return await self._common.update(key, value, expected=expected)

    async def delete(self, key: str, *, expected: int) -> Record:
        await self._gates.wait()
        return await self._common.delete(key, expected=expected)

    async def get(self, key: str) -> Record | None:
        await self._gates.wait()
        return await self._common.get(key)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        return await self._common.list(prefix, limit=limit, after=after, revision=revision)

    async def revision(self) -> int:
        return await self._common.revision()

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        async for change in self._common.watch(prefix, after=after):
            await self._gates.wait()
            yield change


def configmap(name: str, uid: str) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": uid}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def pod(name: str, uid: str) -> Object:
    spec = {"containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]}
    return {**configmap(name, uid), "kind": "Pod", "spec": spec, "status": {"phase": "Pending"}}


@dataclass
class World:
    """Two servers, and what became of the writes through them."""

    gates: Gates
    common: MemoryStore = field(default_factory=MemoryStore)
    made: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    most: int = 0

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        stores = [SteppedStore(self.common, self.gates) for _ in range(2)]
        self.servers = [ApiServer(store, ServerSettings(), self.clock)._context for store in stores]

    async def write(self, server: Context, resource: Resource, obj: Object, *, fails: bool, ends: bool) -> None:
        """Store ``obj`` within its quotas, as ``storing`` does; ``fails``: its name turns out to be taken."""
        served = server.served[resource]
        key = served.layout.key("default", obj["metadata"]["name"])
        try:
            async with charging(server, served, obj, None, dry_run=False) as charge:
                if fails:
                    await self.gates.wait()
                    raise AlreadyExists(key)
                record = await server.store.create(key, served.layout.encode(obj))
                charge.revision = record.revision
                self.made.append(key)
                self.most = max(self.most, await self.stored(resource))
        except AlreadyExists:
            return
        except ApiError as error:
            assert error.is_forbidden
            self.refused.append(key)
            return
        if ends:
            await server.store.delete(key, expected=record.revision)

    async def stored(self, resource: Resource) -> int:
        page = await self.common.list(self.servers[0].served[resource].layout.prefix)
        return len(page.records)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(one.feed.run()) for one in self.servers]
        tasks.append(asyncio.create_task(self.gates.run()))
        try:
            for server in self.servers:
                await server.feed.wait_filled()
            yield
        finally:
            self.gates.is_open = True
            for server in self.servers:
                await server.quotas.close()
            await cancel(*tasks)

    async def limit(self, hard: dict[str, str]) -> None:
        layout = self.servers[0].served[RESOURCEQUOTAS].layout
        quota = {"metadata": {"name": "q", "namespace": "default", "uid": "q"}, "spec": {"hard": hard}}
        record = await self.common.create(layout.key("default", "q"), layout.encode(quota))
        for server in self.servers:
            await server.wait_revision(record.revision)


writes = st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), min_size=HARD + 1, max_size=7)
"""Of each write: through which server, whether it fails, and whether its object is deleted at once."""


async def play(
    resource: Resource, hard: dict[str, str], todo: list[tuple[int, bool, bool]], choices: list[int]
) -> World:
    world = World(Gates(choices))
    make = pod if resource is PODS else configmap
    async with world.running():
        await world.limit(hard)
        world.gates.is_open = False
        async with asyncio.timeout(3600):
            await asyncio.gather(
                *(world.write(world.servers[server], resource, make(f"o{number}", f"u{number}"), fails=fails, ends=ends)
                  for number, (server, fails, ends) in enumerate(todo))
            )  # fmt: skip
    return world


@settings(max_examples=150, deadline=None)
@example(todo=[(0, False, False)] * 4, choices=[0, 0, 2, 4])
@given(todo=writes, choices=st.lists(st.integers(0, 12), max_size=160))
def test_counted_objects_fill_a_quota_and_never_overfill_it(
    todo: list[tuple[int, bool, bool]], choices: list[int]
) -> None:
    world = virtual_time.run(lambda: play(CONFIGMAPS, {"configmaps": str(HARD)}, todo, choices))
    assert world.most <= HARD
    staying = [one for one in todo if not one[1]]
    if not any(ends for _, _, ends in staying):
        # Nothing goes away again, so that there was room for exactly these.
        assert len(world.made) == min(HARD, len(staying))
    if len(staying) <= HARD:
        assert len(world.made) == len(staying), "writes that fail take no room from those that do not"


@settings(max_examples=100, deadline=None)
@example(todo=[(0, False, False)] * 4, choices=[0, 0, 2, 0, 8])
@given(todo=writes, choices=st.lists(st.integers(0, 12), max_size=160))
def test_pods_fill_a_quota_of_cpu_and_never_overfill_it(todo: list[tuple[int, bool, bool]], choices: list[int]) -> None:
    world = virtual_time.run(lambda: play(PODS, {"requests.cpu": f"{HARD * 1000}m"}, todo, choices))
    assert world.most <= HARD
    staying = [one for one in todo if not one[1]]
    if not any(ends for _, _, ends in staying):
        assert len(world.made) == min(HARD, len(staying))
    if len(staying) <= HARD:
        assert len(world.made) == len(staying)
