"""What the verbs work with: the served resources, their caches, the store, admission, the nodes and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from kontinuum.api.machinery import status
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import EVERYTHING, LabelSelector
from kontinuum.apiserver.admission.chain import Chain
from kontinuum.apiserver.authn.assemble import Identity
from kontinuum.apiserver.authz.authorizer import Authorizer
from kontinuum.apiserver.catalog import Catalog, Served
from kontinuum.apiserver.events import Entry
from kontinuum.apiserver.feed import Feed
from kontinuum.apiserver.nodes import Nodes
from kontinuum.apiserver.quota.books import Books
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.apiserver.usage.samples import Samples
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.clock import Clock
from kontinuum.store.port import Store

__all__ = ["Context", "Served"]

CATCH_UP_SECONDS = 10.0
"""A revision that the store itself has told will come, unlike one that a client names; but the watch that brings it may
have to notice first that its member of etcd is silent (3 s), and wait for an election (1-2 s)."""

SMALL, MOST_DECODED = 16 * 1024, 128
"""Bytes of an object that is kept decoded (which takes five times as many), and how many such objects there are."""
FEW = 32
"""Objects of a resource that are kept together."""


class Decoded:
    """What admission has looked at lately: every pod asks for the same namespace, account and priority classes.

    A cache's entry is never changed, only replaced, so what was made of it holds as long as it is the same one.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Entry, Object]] = {}
        self._whole: dict[str, tuple[WatchCache, int, list[Object]]] = {}

    def of(self, entry: Entry) -> Object:
        known = self._known.get(entry.key)
        if known is not None and known[0] is entry:
            return known[1]
        obj: Object = orjson.loads(entry.value)
        if len(entry.value) <= SMALL:
            if len(self._known) >= MOST_DECODED:
                self._known.clear()
            self._known[entry.key] = entry, obj
        return obj

    def all_of(self, cache: WatchCache) -> list[Object]:
        """All objects of one resource, of which there are few, such as classes: the same until one of them changes."""
        known = self._whole.get(cache.layout.prefix)
        if known is not None and known[0] is cache and known[1] == cache.changed:
            return known[2]
        found = [self.of(entry) for entry in cache.select(Selection("", EVERYTHING))]
        if len(found) <= FEW:
            self._whole[cache.layout.prefix] = cache, cache.changed, found
        return found

    def kept(self) -> list[tuple[Entry, Object]]:
        """The objects that are remembered, each with the entry that it was made of."""
        return [*self._known.values()]


@dataclass(slots=True)
class Context:
    """See the module. One per server."""

    store: Store
    settings: ServerSettings
    clock: Clock
    catalog: Catalog
    feed: Feed
    admission: Chain
    authorizer: Authorizer
    nodes: Nodes
    quotas: Books
    usage: Samples = field(default_factory=Samples)
    """What nodes and pods use, as far as nodes have told."""
    decoded: Decoded = field(default_factory=Decoded)
    identity: Identity = field(init=False)
    """Set before the first request is answered."""
    history_begins: int = 0
    """The revision from which on lists of the past are answered, as of the last compaction by this server."""

    @property
    def served(self) -> Mapping[Resource, Served]:
        """What is served now; it may be kept, and shows every change."""
        return self.catalog.served

    async def catch_up(self, revision: int = 0) -> int:
        """Wait until the caches hold ``revision``, which the store has told, and answer theirs.

        By default that of the last write that has returned. Raises ApiError 504 if they do not get there in time,
        StoreUnavailable.
        """
        seconds = max(CATCH_UP_SECONDS, self.settings.read_wait_seconds)
        return await self.wait_revision(revision or await self.store.revision(), seconds=seconds)

    async def wait_revision(self, revision: int, *, seconds: float = 0.0) -> int:
        """Wait until the caches have reached ``revision``, by default for as long as the settings say.

        Raises ApiError 504 if they do not get there in time.
        """
        if self.feed.applied < revision:
            reached = await self.feed.wait_revision(revision, seconds or self.settings.read_wait_seconds)
            if not reached:
                raise status.too_large_resource_version(revision, self.feed.applied)
        return self.feed.applied

    async def current(self, served: Served, namespace: str, name: str) -> Entry:
        """The object as it is now. Raises ApiError 404."""
        await self.catch_up()
        entry = served.cache.get(served.layout.key(namespace, name))
        if entry is None:
            raise status.not_found(served.resource, name)
        return entry

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object for admission: a cached one will do, but what is not cached may have been written just now.

        It may be shared with others who look at it, and is not to be changed.
        """
        entry = await self._entry(resource, namespace, name)
        return self.decoded.of(entry) if entry is not None else None

    async def labels(self, resource: Resource, namespace: str, name: str) -> Mapping[str, str] | None:
        """Its labels alone; None if there is no such object."""
        entry = await self._entry(resource, namespace, name)
        return (entry.labels or {}) if entry is not None else None

    async def _entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        cache = self.served[resource].cache
        key = cache.layout.key(namespace, name)
        entry = cache.get(key)
        if entry is None:
            await self.catch_up()
            entry = cache.get(key)
        return entry

    async def list(self, resource: Resource, namespace: str = "", labels: LabelSelector = EVERYTHING) -> list[Object]:
        """The cached objects of a namespace, or of all for "", for admission. Decodes them: not for long lists.

        They may be shared as those of ``find``.
        """
        cache = self.served[resource].cache
        if not len(cache):
            return []  # Most clusters have no LimitRanges, and every write asks for them.
        if not namespace and labels is EVERYTHING:
            return [*self.decoded.all_of(cache)]
        entries = cache.select(Selection(namespace, labels))
        return [self.decoded.of(entry) for entry in entries]
