"""A key is not decided again until its own write has come back, however late the watch is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object
from kontinuum.client.informer import Informer
from kontinuum.client.reconcile import DONE, Result, Workers
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.client.writes import OwnWrites, Writer
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel

Scene = Callable[[FakeApi, Informer, OwnWrites, Writer, Faults], Awaitable[None]]


def scene(main: Scene) -> None:
    async def run() -> None:
        api, faults, clock = FakeApi(), Faults(), VirtualClock()
        informer = Informer(Client(api.channel(faults)), CONFIGMAPS, clock=clock)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        writes = OwnWrites({CONFIGMAPS: informer}, clock)
        await main(api, informer, writes, Writer(api.client(), writes, "key"), faults)
        await cancel(task)

    virtual_time.run(run)


def config(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}}


def test_a_creation_is_unseen_until_the_informer_shows_it() -> None:
    async def main(api: FakeApi, informer: Informer, writes: OwnWrites, writer: Writer, faults: Faults) -> None:
        await writer.create(CONFIGMAPS, config("c"))
        assert not writes.are_seen("key")
        assert writes.are_seen("another key")
        await asyncio.sleep(0.1)
        assert informer.get("default/c") is not None
        assert writes.are_seen("key")

    scene(main)


def test_a_creation_whose_object_is_gone_before_it_was_seen_counts_as_seen() -> None:
    async def main(api: FakeApi, informer: Informer, writes: OwnWrites, writer: Writer, faults: Faults) -> None:
        faults.down = True
        api.drop_watches()
        await writer.create(CONFIGMAPS, config("c"))
        await api.client().delete(CONFIGMAPS, "c", namespace="default")
        api.compact()
        assert not writes.are_seen("key")
        faults.down = False
        await asyncio.sleep(10)
        assert writes.are_seen("key")

    scene(main)


def test_a_deletion_is_unseen_while_the_object_is_still_in_the_copy() -> None:
    async def main(api: FakeApi, informer: Informer, writes: OwnWrites, writer: Writer, faults: Faults) -> None:
        made = await writer.create(CONFIGMAPS, config("c"))
        await asyncio.sleep(0.1)
        faults.down = True
        api.drop_watches()
        await writer.delete(CONFIGMAPS, made)
        assert not writes.are_seen("key")
        faults.down = False
        await asyncio.sleep(10)
        assert writes.are_seen("key")

    scene(main)


def test_patience_with_a_write_that_never_comes_back_ends() -> None:
    async def main(api: FakeApi, informer: Informer, writes: OwnWrites, writer: Writer, faults: Faults) -> None:
        faults.down = True
        api.drop_watches()
        await writer.create(CONFIGMAPS, config("c"))
        await asyncio.sleep(29)
        assert not writes.are_seen("key")
        await asyncio.sleep(2)
        assert writes.are_seen("key")

    scene(main)


def test_a_late_watch_does_not_make_a_reconciler_create_twice() -> None:
    async def main(api: FakeApi, informer: Informer, writes: OwnWrites, writer: Writer, faults: Faults) -> None:
        decided = 0

        async def one_is_enough(key: str) -> Result:
            nonlocal decided
            decided += 1
            if not informer.all_keys():
                await writer.create(CONFIGMAPS, config(f"c{decided}"))
            return DONE

        workers = Workers("test", one_is_enough, writes=writes)
        task = asyncio.create_task(workers.run())
        faults.down = True
        api.drop_watches()
        for _ in range(10):
            workers.queue.add("key")
            await asyncio.sleep(1)
        assert decided == 1
        faults.down = False
        await asyncio.sleep(10)
        assert informer.all_keys() == ["default/c1"]
        await cancel(task)

    scene(main)
