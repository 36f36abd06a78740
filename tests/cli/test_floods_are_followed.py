"""Whoever follows a resource comes to know all of it, however many changes come and however long they go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.registry import Layout
from kontinuum.cli.simulation.virtual import serving
from kontinuum.client.informer import PAGE, Informer
from kontinuum.client.transport.port import Request, Response, Transport
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Record

OBJECTS = 4 * PAGE
DELAY_SECONDS = 0.01
PACE_SECONDS = 8 * DELAY_SECONDS / PAGE
"""From one change to the next. A page, in pieces, is there after some four delays: twice as many can be read."""
LAYOUT = Layout(CONFIGMAPS)


def encoded(name: str, text: str) -> bytes:
    obj: Object = {"metadata": {"name": name, "namespace": "default", "uid": name}, "data": {"text": text}}
    return LAYOUT.encode(obj)


@asynccontextmanager
async def flood(store: MemoryStore, records: list[Record]) -> AsyncIterator[Callable[[], int]]:
    """One object after another changes, in turn, without end; answers how often that has happened."""
    changes = 0

    async def change() -> None:
        nonlocal changes
        for number in count():
            at = number % len(records)
            key = records[at].key
            records[at] = await store.update(key, encoded(f"c{at:05}", str(number)), expected=records[at].revision)
            changes += 1
            await asyncio.sleep(PACE_SECONDS)

    changing = asyncio.create_task(change())
    try:
        yield lambda: changes
    finally:
        await cancel(changing)


class Asked:
    """Notes what a client asks for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.lists = 0

    async def send(self, request: Request) -> Response:
        self.lists += not request.is_watch
        return await self._transport.send(request)

    async def close(self) -> None:
        await self._transport.close()


def test_who_lists_in_a_flood_without_end_resumes_from_there_and_never_lists_again() -> None:
    async def main() -> None:
        clock, store = VirtualClock(), MemoryStore()
        names = [f"c{number:05}" for number in range(OBJECTS)]
        records = [await store.create(LAYOUT.key("default", name), encoded(name, "")) for name in names]
        asked: list[Asked] = []

        def noting(transport: Transport) -> Transport:
            asked.append(Asked(transport))
            return asked[-1]

        few = {"history_events": 10}
        async with (
            serving(store, clock, seed=1, delay_seconds=DELAY_SECONDS, **few) as connected,
            flood(store, records) as changes,
        ):
            client = connected("admin").through(noting)
            informer = Informer(client, CONFIGMAPS, clock=clock, namespace="default")
            following = asyncio.create_task(informer.run())
            await informer.wait_synced()
            before = changes()
            while changes() < before + 2 * OBJECTS:
                await asyncio.sleep(0.01)
            assert asked[0].lists == OBJECTS / PAGE
            await cancel(following)

    virtual_time.run(main)
