"""Watches of the fake API server: from any revision that is still known, filtered, with bookmarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import orjson

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import expired
from kontinuum.client.errors import Unreachable
from kontinuum.client.transport.fake.storage import Entry, Storage, position_after

BOOKMARK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Watch:
    """One watch's wishes."""

    resource: Resource
    revision: int | None
    """Events after this one; None: from now, beginning with everything there is."""
    matches: Callable[[Object], bool]
    render: Callable[[Object], Object]
    seconds: float
    bookmarks: bool


async def stream(storage: Storage, watch: Watch, is_cut: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    """The lines of the watch's answer. Raises Unreachable when the test cuts the connection."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + watch.seconds
    log = storage.log_of(watch.resource)
    if watch.revision is None:
        for obj in storage.find(watch.resource, watch.matches):
            yield _line("ADDED", watch.render(obj))
        position = len(log)
    elif watch.revision < storage.compacted:
        yield _line("ERROR", expired().to_status())
        return
    else:
        position = position_after(watch.revision, log)
    while not is_cut():
        entries = log[position:]
        position += len(entries)
        for entry in entries:
            if shown := _event(watch, entry):
                yield shown
        if entries:
            continue
        left = ends - loop.time()
        if left < 0.001:
            return
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                await storage.wait_changed(watch.resource, is_cut)
        except TimeoutError:
            if watch.bookmarks:
                yield _bookmark(watch.resource, storage.revision)
    raise Unreachable("watching the fake API server: the connection was cut")


def _event(watch: Watch, entry: Entry) -> bytes | None:
    """The event that this watch is shown: an object that begins or ceases to match appears and disappears."""
    was = entry.old is not None and watch.matches(entry.old)
    now = entry.new is not None and watch.matches(entry.new)
    if now and entry.new is not None:
        return _line("MODIFIED" if was else "ADDED", watch.render(entry.new))
    if was and entry.old is not None:
        metadata = {**entry.old["metadata"], "resourceVersion": str(entry.revision)}
        return _line("DELETED", watch.render({**entry.old, "metadata": metadata}))
    return None


def _bookmark(resource: Resource, revision: int) -> bytes:
    metadata = {"resourceVersion": str(revision)}
    return _line("BOOKMARK", {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata})


def _line(kind: str, obj: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": obj})
