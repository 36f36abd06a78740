"""A local copy of one resource that keeps itself up to date, and tells what changed.

                 ┌────────────────────────────────────────────────┐
                 ▼                                                │ expired (410), or the watch is unusable
    run ──▶ listing ──▶ watching ──▶ stream ended ──▶ watching …  │
                 ▲           └────────────────────────────────────┘
                 └── failed: wait (back-off), then list again

A watch that merely ends is resumed from the last version seen, so that nothing is missed. A list is compared with the
copy, so that what happened while nobody watched is told too, as if it had been watched: one path for both. What changes
all the time without telling anything (a Lease that is renewed) may be listed every so often and never watched.

Objects are kept as compact bytes (a decoded pod takes 16 KB, its bytes 3 KB), and decoded whenever they are asked for:
what is handed out belongs to the caller. What is asked of hundreds of objects at a time can be read once, when each of
them changes: its digest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import orjson
import structlog

from kontinuum.api.machinery.objects import Object, key_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.errors import Unreachable
from kontinuum.client.rest import Client, WatchEvent
from kontinuum.client.shapes import Shape
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Retryable

log = structlog.get_logger(__name__)

Change = Literal["added", "updated", "deleted"]
Handler = Callable[[Change, Object, Object | None], None]
"""Told of every change: what happened, the object as it is now (the last one if deleted), and as it was before."""
Index = Callable[[Object], list[str]]
"""The values under which an object is to be found."""
Digest = Callable[[Object], Any]
"""What is to be known of an object without decoding it; a small value that does not change."""

RETRY = Backoff(initial=0.2, maximum=5.0, jitter=0.2)
PAGE = 500
"""Objects per list request: bounds what is decoded at once."""
WATCH_SECONDS = 300


class Informer:
    """See the module. ``run`` it in a task; reading is allowed at any time, and complete after ``wait_synced``."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        clock: Clock,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Index] | None = None,
        metadata_only: bool = False,
        trim: Callable[[Object], Object] | None = None,
        shape: Shape = None,
        digest: Digest | None = None,
        every: float | None = None,
    ) -> None:
        """``trim`` may drop what nobody will read before an object is kept; managedFields always go.

        ``shape``: what ``trim`` reads of an object; nothing else need be decoded.
        ``digest``: what ``digests`` answers of each object. ``every``: list again after so many seconds; never watch.
        """
        self.resource = resource
        self._client = client
        self._clock = clock
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._metadata_only = metadata_only
        self._trim = trim
        self._shape = shape
        self._every = every
        self._cache = Cache(indexes or {}, digest)
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._version = ""

    async def run(self) -> None:
        """Keep the copy up to date until cancelled."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                await self._list_and_watch()
            except (ApiError, Retryable) as error:
                if self._clock.monotonic() - began > RETRY.maximum:
                    failures = 0
                log.info("cannot follow a resource now", resource=self.resource.qualified, error=str(error))
                await self._clock.sleep(RETRY.delay(failures))
                failures += 1

    async def wait_synced(self) -> None:
        """Wait until the first list is complete and has been told to the handlers."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    def has_seen(self, resource_version: str | int) -> bool:
        """True if this copy is at least as new as ``resource_version`` (of the same resource).

        Versions are compared as numbers, which KEP-5504 promises and every server has always done.
        """
        return bool(self._version) and int(self._version) >= int(resource_version)

    def get(self, key: str) -> Object | None:
        """The object under ``namespace/name`` (``name`` for cluster-scoped ones)."""
        return self._cache.get(key)

    def all_keys(self) -> list[str]:
        return self._cache.all_keys()

    def items(self) -> Iterator[Object]:
        """Every object, decoded one at a time."""
        return (obj for key in self._cache.all_keys() if (obj := self._cache.get(key)) is not None)

    def by_index(self, name: str, value: str) -> list[Object]:
        """The objects that the index ``name`` files under ``value``, in key order."""
        return self._cache.by_index(name, value)

    def values(self, name: str) -> list[str]:
        """Every value under which the index ``name`` files something."""
        return self._cache.values(name)

    def digests(self, name: str, value: str) -> list[Any]:
        """The digests of the same, in no order; nothing is decoded for them."""
        return self._cache.digests(name, value)

    def count(self, name: str, value: str) -> int:
        """How many objects the index ``name`` files under ``value``."""
        return self._cache.count(name, value)

    def add_handler(self, handler: Handler) -> None:
        """Have ``handler`` told of every change from now on; it must neither block nor raise.

        What is in the copy already is told at once as added.
        """
        self._handlers.append(handler)
        for obj in self.items():
            handler("added", obj, None)

    async def _list_and_watch(self) -> None:
        """List, then watch for as long as the server can resume where the last stream ended."""
        await self._relist()
        self._synced.set()
        while self._every is not None:
            await self._clock.sleep(self._every)
            await self._relist()
        failures = 0
        while True:
            before, began = self._version, self._clock.monotonic()
            try:
                await self._watch_once()
            except ApiError as error:
                if error.code < 500 and not error.is_too_many_requests:
                    raise
            except Unreachable as error:
                # Resuming costs the server less than a new list, and misses as little.
                log.info("a watch broke and is resumed", resource=self.resource.qualified, error=str(error))
            if self._version != before or self._clock.monotonic() - began > RETRY.maximum:
                failures = 0
            else:
                # Also a watch that ends in good order is not asked for again at once, or a server that
                # ends every one of them would be asked without pause.
                await self._clock.sleep(RETRY.delay(failures))
                failures += 1

    async def _watch_once(self) -> None:
        stream = self._client.watch(
            self.resource,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            resource_version=self._version,
            timeout_seconds=WATCH_SECONDS,
            metadata_only=self._metadata_only,
            shape=self._shape,
        )
        async with contextlib.aclosing(stream):
            async for event in stream:
                self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        self._version = event.object["metadata"].get("resourceVersion") or self._version
        if event.type == "DELETED":
            self._forget(key_of(event.object), event.object)
        elif event.type != "BOOKMARK":
            self._keep(event.object)

    async def _relist(self) -> None:
        """Read everything, page by page, and tell the differences to what was known."""
        listed: set[str] = set()
        continue_ = ""
        while True:
            page = await self._client.list(
                self.resource,
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                limit=PAGE,
                continue_=continue_,
                metadata_only=self._metadata_only,
            )
            for obj in page.items:
                listed.add(key_of(obj))
                self._keep(obj)
            continue_ = page.continue_
            if not continue_:
                break
        self._version = page.resource_version
        for key in self._cache.all_keys():
            if key not in listed:
                self._forget(key, None)

    def _keep(self, obj: Object) -> None:
        obj["metadata"].pop("managedFields", None)
        if self._trim is not None:
            obj = self._trim(obj)
        old = self._cache.put(obj)
        if old is None:
            self._tell("added", obj, None)
        elif old["metadata"].get("uid") != obj["metadata"].get("uid"):
            # Deleted and created again while nobody looked.
            self._tell("deleted", old, None)
            self._tell("added", obj, None)
        elif _is_newer(obj, old):
            self._tell("updated", obj, old)

    def _forget(self, key: str, last: Object | None) -> None:
        old = self._cache.remove(key)
        if old is not None:
            self._tell("deleted", last or old, old)

    def _tell(self, change: Change, obj: Object, old: Object | None) -> None:
        for handler in self._handlers:
            handler(change, obj, old)


def _is_newer(obj: Object, old: Object) -> bool:
    """By their versions; where ``trim`` drops these, only what it has left makes a difference."""
    version = obj["metadata"].get("resourceVersion")
    return obj != old if version is None else bool(version != old["metadata"].get("resourceVersion"))


class Cache:
    """Objects as bytes, by key and by index."""

    def __init__(self, indexes: Mapping[str, Index], digest: Digest | None = None) -> None:
        self._indexes = indexes
        self._digest = digest
        self._digests: dict[str, Any] = {}
        self._raw: dict[str, bytes] = {}
        self._filed: dict[str, dict[str, set[str]]] = {name: {} for name in indexes}

    def get(self, key: str) -> Object | None:
        raw = self._raw.get(key)
        return None if raw is None else orjson.loads(raw)

    def all_keys(self) -> list[str]:
        return list(self._raw)

    def by_index(self, name: str, value: str) -> list[Object]:
        return [orjson.loads(self._raw[key]) for key in sorted(self._filed[name].get(value, ()))]

    def values(self, name: str) -> list[str]:
        return list(self._filed[name])

    def digests(self, name: str, value: str) -> list[Any]:
        return [self._digests[key] for key in self._filed[name].get(value, ())]

    def count(self, name: str, value: str) -> int:
        return len(self._filed[name].get(value, ()))

    def put(self, obj: Object) -> Object | None:
        """Keep ``obj`` and answer what was kept under its key before."""
        key = key_of(obj)
        old = self.get(key)
        # The copy gives back orjson's 8 KB output buffer, of which a small object uses little.
        self._raw[key] = bytes(memoryview(orjson.dumps(obj)))
        if self._digest is not None:
            self._digests[key] = self._digest(obj)
        for name, index in self._indexes.items():
            values, before = index(obj), index(old) if old is not None else ()
            if values != before:
                self._unfile(name, key, before)
                for value in values:
                    self._filed[name].setdefault(value, set()).add(key)
        return old

    def remove(self, key: str) -> Object | None:
        old = self.get(key)
        if old is None:
            return None
        del self._raw[key]
        self._digests.pop(key, None)
        for name, index in self._indexes.items():
            self._unfile(name, key, index(old))
        return old

    def _unfile(self, name: str, key: str, values: Iterable[str]) -> None:
        filed = self._filed[name]
        for value in values:
            keys = filed.get(value, set())  # a pod may name one claim twice
            keys.discard(key)
            if not keys:
                filed.pop(value, None)
