"""Clients that write and watch while servers are killed, and what must hold of all that they were told.

A writer whose request fails does not know whether it happened, goes on with another object, and moves to the next
server. A watcher that is cut off resumes after the last revision that it has seen, at the next server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.rest import Client
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel

NAMESPACE = "default"
AGAIN_SECONDS = 0.02


class Event(NamedTuple):
    """One change as a watcher, or a writer, was told it."""

    revision: int
    type: str
    name: str
    content: str


def config(name: str, data: str = "x") -> Object:
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "data": {"content": data}}


def event_of(kind: str, obj: Object) -> Event:
    return Event(int(obj["metadata"]["resourceVersion"]), kind, name_of(obj), obj["data"]["content"])


@dataclass
class History:
    """What was acknowledged to writers, and what each watcher saw."""

    acknowledged: list[Event] = field(default_factory=list)
    seen: list[list[Event]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What writers were told when their request failed."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watched(self, clients: Sequence[Client], count: int) -> AsyncIterator[None]:
        """``count`` watchers during the block, which begin at different servers."""
        began = (await clients[0].list(CONFIGMAPS, namespace=NAMESPACE)).resource_version
        watchers = []
        for number in range(count):
            self.seen.append([])
            work = self._watch([*clients[number % len(clients) :], *clients], began, self.seen[-1])
            watchers.append(asyncio.create_task(work))
        try:
            yield
        finally:
            await cancel(*watchers)

    @contextlib.asynccontextmanager
    async def written(self, clients: Sequence[Client], count: int) -> AsyncIterator[None]:
        """``count`` writers during the block."""
        writers = [asyncio.create_task(self._write(clients, number)) for number in range(count)]
        try:
            yield
        finally:
            broken = [writer for writer in writers if writer.done()]
            await cancel(*writers)
            for writer in broken:
                writer.result()

    async def wait_more(self, count: int) -> None:
        """Return when ``count`` more writes have been acknowledged; fails after ninety seconds."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(90):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.005)

    async def _write(self, clients: Sequence[Client], number: int) -> None:
        """Create objects for ever, change most of them, delete some."""
        turn, at = 0, number
        while True:
            name = f"client-{number}-{turn}"
            turn += 1
            client = clients[at % len(clients)]
            try:
                made = await client.create(CONFIGMAPS, config(name))
                self.acknowledged.append(event_of("ADDED", made))
                if turn % 4:
                    made = await client.update(CONFIGMAPS, made | {"data": {"content": "changed"}})
                    self.acknowledged.append(event_of("MODIFIED", made))
                if not turn % 3:
                    await client.delete(CONFIGMAPS, name, namespace=NAMESPACE)
            except (Retryable, ApiError) as error:
                assert not isinstance(error, ApiError) or error.code >= 500, error
                self.failures.append(str(error))
                at += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def _watch(self, clients: Sequence[Client], version: str, seen: list[Event]) -> None:
        at = 0
        while True:
            stream = clients[at % len(clients)].watch(CONFIGMAPS, namespace=NAMESPACE, resource_version=version)
            try:
                async with contextlib.aclosing(stream):
                    async for event in stream:
                        version = event.object["metadata"]["resourceVersion"]
                        if event.type != "BOOKMARK":
                            seen.append(event_of(event.type, event.object))
            except Retryable:
                await asyncio.sleep(AGAIN_SECONDS)
            except ApiError as error:
                # 410 would be an event missed; 504 is a server that has not caught up with the one we come from.
                assert error.code >= 500, error
                await asyncio.sleep(AGAIN_SECONDS)
            at += 1

    async def must_hold(self, client: Client) -> None:
        """Nothing that was acknowledged is lost, no revision is used twice, and every watcher saw the one history.

        A writer that was stopped leaves a request on its way, which a slow server may carry out at any later time. So
        what is compared is what happened until a list was taken, and watchers must have been told of all that: they
        have when they know of a change that came after it.
        """
        listed = await client.list(CONFIGMAPS, namespace=NAMESPACE)
        until = int(listed.resource_version)
        last = event_of("ADDED", await client.create(CONFIGMAPS, config("last")))
        async with asyncio.timeout(90):
            while any(not one or one[-1].revision < last.revision for one in self.seen):
                await asyncio.sleep(0.02)
        first, *others = ([event for event in one if event.revision <= until] for one in self.seen)
        assert all(one == first for one in others), "watchers have seen different histories"
        revisions = [event.revision for event in first]
        assert revisions == sorted(set(revisions)), "an event came twice or out of order"
        told = [event.revision for event in self.acknowledged]
        assert len(set(told)) == len(told), "a revision was given out twice"
        missed = set(self.acknowledged) - set(first)
        assert not missed, f"acknowledged, and lost or not told: {sorted(missed)[:5]}"
        present = {
            event_of("", one)[2:]: event_of("", one).revision for one in listed.items if "content" in one["data"]
        }
        assert present == replayed(first), "the list is not what the history leads to"


def replayed(events: Sequence[Event]) -> dict[tuple[str, str], int]:
    """The revision of each name and content after the events, each of which must fit those before it."""
    present: dict[str, Event] = {}
    for event in events:
        assert (event.name in present) == (event.type != "ADDED"), f"{event} does not follow {present.get(event.name)}"
        if event.type == "DELETED":
            del present[event.name]
        else:
            present[event.name] = event
    return {(event.name, event.content): event.revision for event in present.values()}
