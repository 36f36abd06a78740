"""Carries the store's changes into the watch caches, all resources in one order.

    start:   list everything a little in the past ──► caches.load ──► watch from there ──► caches.apply ...
    a break: StoreUnavailable ──► watch again from the last revision seen
             Compacted        ──► caches.clear, and start anew

Because one watch feeds every cache, one number says how far all of them are: ``applied``.

A cache can join while the feed runs (a custom resource is defined): what is stored is listed as of ``applied``, changes
that come meanwhile are kept for it and applied afterwards, so that none is missing and none comes twice.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from kontinuum.apiserver.registry import ROOT
from kontinuum.apiserver.watchcache import WatchCache
from kontinuum.foundation.backoff import Backoff
from kontinuum.foundation.clock import Clock
from kontinuum.store.port import Change, Compacted, Record, Store, StoreUnavailable

log = structlog.get_logger(__name__)

Convert = Callable[[Sequence[Record]], Awaitable[Sequence[Record]]]
AGAIN = Backoff(initial=0.1, maximum=5.0, jitter=0.1)


class _Joining:
    """What happens to a resource after ``revision``, until its cache has been loaded as of that."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.changes: list[Change] = []
        self.is_void = False
        """The feed had to start anew, so that changes may have been missed."""


class Feed:
    """``caches`` are found by the prefix of their keys (``Layout.prefix``)."""

    def __init__(self, store: Store, caches: Mapping[str, WatchCache], clock: Clock, *, replay: int) -> None:
        self._store = store
        self._caches = dict(caches)
        self._joining: dict[str, _Joining] = {}
        self._clock = clock
        self._replay = replay
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self._target = 0
        self._filled = asyncio.Event()
        self.applied = 0
        """Every change up to this revision is in the caches."""

    async def run(self) -> None:
        """Feed for ever. Ends only by cancellation."""
        failures = 0
        loaded = False
        while True:
            try:
                if not loaded:
                    await self._load()
                    loaded = True
                async for change in self._store.watch(ROOT, after=self.applied):
                    self._apply(change)
                    failures = 0
            except Compacted as error:
                log.warning("history is gone; reading everything again", reason=str(error))
                loaded, self._replay = False, 0
            except StoreUnavailable as error:
                log.warning("the store does not answer; watching it again soon", reason=str(error))
                await self._clock.sleep(AGAIN.delay(failures))
                failures += 1

    async def wait_revision(self, revision: int, seconds: float) -> bool:
        """Return True once the caches have reached ``revision``, False if they have not after ``seconds``."""
        if self.applied >= revision:
            return True
        # Nearly always it was written just now, and the feed's turn is next: that takes no timer.
        await asyncio.sleep(0)
        if self.applied >= revision:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiting, (revision, self._tickets, future))
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return self.applied >= revision
        return True

    @property
    def is_filled(self) -> bool:
        """The caches hold everything that was stored when the feed began."""
        return self._filled.is_set()

    async def wait_filled(self) -> None:
        """Return once ``is_filled``."""
        await self._filled.wait()

    async def join(self, cache: WatchCache, convert: Convert | None = None) -> None:
        """Load ``cache`` from the store and feed it from now on. One that is fed under the same prefix is let go.

        ``convert`` may change the records that are stored already. Raises StoreUnavailable, and what ``convert`` does.
        """
        prefix = cache.layout.prefix
        while True:
            joining = self._joining[prefix] = _Joining(self.applied)
            try:
                records = await self._records_at(joining.revision, prefix)
                if convert is not None:
                    records = await convert(records)
            except Compacted:
                await self._clock.sleep(AGAIN.initial)
                continue
            except BaseException:
                if self._joining.get(prefix) is joining:
                    del self._joining[prefix]
                raise
            if self._joining.get(prefix) is joining and not joining.is_void:
                break
        # From here on nothing is awaited.
        del self._joining[prefix]
        for record in records:
            cache.load(record.key, record.value, record.revision)
        cache.begin(joining.revision)
        for change in joining.changes:
            cache.apply(change.key, change.value, change.revision, deleted=change.deleted)
        replaced = self._caches.get(prefix)
        self._caches[prefix] = cache
        if replaced is not None:
            replaced.give_way(cache)

    def leave(self, cache: WatchCache) -> None:
        """Feed ``cache`` no longer: its watches end, and its objects are forgotten."""
        if self._caches.get(cache.layout.prefix) is cache:
            del self._caches[cache.layout.prefix]
        cache.clear()
        cache.give_way(None)

    async def _load(self) -> None:
        """Fill the caches as of a revision a little in the past, so that what came after is history for watchers."""
        self._target = await self._store.revision()
        await self._load_at(max(0, self._target - self._replay))
        self._advance(self.applied)

    async def _load_at(self, revision: int) -> None:
        # Everything is read before anything is replaced: readers never see a half-filled cache.
        records = await self._records_at(revision, ROOT)
        for joining in self._joining.values():
            joining.is_void = True
        for stale in self._caches.values():
            stale.clear()
        for record in records:
            cache = self._cache_of(record.key)
            if cache is not None:
                cache.load(record.key, record.value, record.revision)
        for loaded in self._caches.values():
            loaded.begin(revision)
        self.applied = revision

    async def _records_at(self, revision: int, prefix: str) -> Sequence[Record]:
        # Revision 0 needs no reading: every change is still to come.
        return (await self._store.list(prefix, revision=revision)).records if revision else ()

    def _apply(self, change: Change) -> None:
        cache = self._cache_of(change.key)
        if cache is not None:
            cache.apply(change.key, change.value, change.revision, deleted=change.deleted)
        if self._joining:
            for prefix, joining in self._joining.items():
                if change.key.startswith(prefix):
                    joining.changes.append(change)
        self._advance(change.revision)

    def _advance(self, revision: int) -> None:
        self.applied = revision
        if revision >= self._target:
            self._filled.set()
        while self._waiting and self._waiting[0][0] <= revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def _cache_of(self, key: str) -> WatchCache | None:
        # "/registry/core/pods/default/web" belongs to "/registry/core/pods/".
        second = key.find("/", len(ROOT))
        return self._caches.get(key[: key.find("/", second + 1) + 1])
