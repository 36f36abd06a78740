"""EtcdStore: the port's verbs as etcd's requests. ``era`` says where things are, ``session`` how they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from kontinuum.store.etcd import history, requests
from kontinuum.store.etcd.access import Access
from kontinuum.store.etcd.era import Era
from kontinuum.store.etcd.errors import HistoryGone
from kontinuum.store.etcd.members import Members
from kontinuum.store.etcd.session import Outcome, Session
from kontinuum.store.keys import must_be_absent, must_be_unchanged
from kontinuum.store.port import Change, Compacted, FutureRevision, Page, Record, StoreUnavailable

T = TypeVar("T")
PAGE = 1000
"""Keys read at once where no limit is asked for: some 3 MB of pods, which etcd and we handle in a few milliseconds."""


class EtcdStore:
    """See ``store.port.Store``; made by ``open``. Several processes may use the same prefix at once."""

    def __init__(self, members: Members, session: Session) -> None:
        self._members = members
        self._session = session
        self._working: set[asyncio.Task[Any]] = set()
        self._asking: asyncio.Task[int] | None = None
        self._asking_next: asyncio.Task[int] | None = None
        self._closed = False

    @classmethod
    async def open(cls, access: Access) -> EtcdStore:
        """Connect, and begin the store if there is none under the prefix yet.

        Raises StoreUnavailable, AccessDenied, Broken when what is there is not ours.
        """
        members = Members(access)
        session = Session(members, access.prefix.encode())
        try:
            await session.begin()
        except BaseException:
            await members.close()
            raise
        return cls(members, session)

    async def create(self, key: str, value: bytes) -> Record:
        def then(era: Era) -> Sequence[Any]:
            return [requests.put(era.key(key), value)]

        era, outcome = await self._write(key, 0, then)
        if not outcome.revision:
            must_be_absent(key, self._revision_of(era, outcome))
        revision = era.ours(outcome.revision)
        return Record(key=key, value=value, created=revision, revision=revision)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        def then(era: Era) -> Sequence[Any]:
            return [requests.put(era.key(key), value), requests.read(requests.ranged(era.key(key), keys_only=True))]

        era, outcome = await self._write(key, expected, then)
        if not outcome.revision:
            must_be_unchanged(key, self._revision_of(era, outcome), expected)
        if outcome.responses:
            written = outcome.responses[1].response_range.kvs[0]
        else:
            written = await self._as_of(era, key, outcome.revision)
        return Record(
            key=key, value=value, created=era.ours(written.create_revision), revision=era.ours(outcome.revision)
        )

    async def delete(self, key: str, *, expected: int) -> Record:
        def then(era: Era) -> Sequence[Any]:
            return [requests.delete(era.key(key), previous=True)]

        era, outcome = await self._write(key, expected, then)
        if not outcome.revision:
            must_be_unchanged(key, self._revision_of(era, outcome), expected)
        if outcome.responses:
            last = outcome.responses[0].response_delete_range.prev_kvs[0]
        else:
            last = await self._as_of(era, key, outcome.revision - 1)
        return Record(
            key=key, value=last.value, created=era.ours(last.create_revision), revision=era.ours(outcome.revision)
        )

    async def get(self, key: str) -> Record | None:
        while True:
            era = self._session.era
            answer = await self._members.ask(
                "Txn",
                requests.transaction(
                    [requests.same(era.head, era.created)], [requests.read(requests.ranged(era.key(key)))]
                ),
            )
            if answer.succeeded:
                found = answer.responses[0].response_range.kvs
                return _record(era, found[0]) if found else None
            await self._session.renew(era)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        records: list[Record] = []
        era = self._session.era
        while True:
            size = min(PAGE, limit - len(records)) if limit else PAGE
            page = await self._page(prefix, size=size, after=after, revision=revision)
            if self._session.era is not era:
                # Another era came into force between two pages. Only a caller without a revision can begin again.
                era, records = self._session.era, []
            records += page.records
            revision = page.revision
            if not page.remaining or (limit and len(records) >= limit):
                return Page(records=tuple(records), revision=revision, remaining=page.remaining)
            after = page.records[-1].key

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        return history.follow(self._members, self._session, prefix, after)

    async def revision(self) -> int:
        # One question to etcd serves all who asked before it was sent, so that each sees every write before its own.
        self._must_be_open()
        if self._asking is None or self._asking.done():
            self._asking = self._shared(self._head())
            return await asyncio.shield(self._asking)
        if self._asking_next is None or self._asking_next.done():
            self._asking_next = self._shared(self._head_after(self._asking))
        return await asyncio.shield(self._asking_next)

    async def compact(self, revision: int) -> None:
        era = self._session.era
        present = await self.revision()
        if revision > present:
            raise FutureRevision(f"compacting to revision {revision}: the last one is {present}")
        if revision <= era.base:
            return
        try:
            await self._members.ask("Compact", requests.compaction(era.theirs(revision)))
        except HistoryGone:
            return  # compacted further already

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*self._working, return_exceptions=True)
        await self._session.end()
        await self._members.close()

    async def _write(self, key: str, expected: int, then: Callable[[Era], Sequence[Any]]) -> tuple[Era, Outcome]:
        """A write in a task of its own: its caller may give up, but not leave it half known."""
        self._must_be_open()
        return await self._detached(self._write_in_some_era(key, expected, then))

    async def _write_in_some_era(
        self, key: str, expected: int, then: Callable[[Era], Sequence[Any]]
    ) -> tuple[Era, Outcome]:
        while True:
            era = self._session.era
            theirs = era.theirs(expected) if expected else 0
            outcome = await self._session.write(era, era.key(key), theirs, then(era))
            if outcome is not None:
                return era, outcome

    async def _detached(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._shared(work))

    def _shared(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._settled)
        return task

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone; then nobody else looks

    def _revision_of(self, era: Era, outcome: Outcome) -> int | None:
        return None if outcome.found is None else era.ours(outcome.found.mod_revision)

    async def _as_of(self, era: Era, key: str, revision: int) -> Any:
        """What was under ``key`` at etcd's ``revision``: the part of an answer that was lost."""
        try:
            found = (await self._members.ask("Range", requests.ranged(era.key(key), revision=revision))).kvs
        except HistoryGone as error:
            raise StoreUnavailable(f"writing {key}: it happened, but what it answers is compacted already") from error
        return found[0]

    async def _page(self, prefix: str, *, size: int, after: str, revision: int) -> Page:
        """At most ``size`` keys. The past is asked for only if it is not the present still."""
        while True:
            era = self._session.era
            if revision and revision < era.base:
                raise Compacted(f"listing at revision {revision}: history begins at {era.base}", oldest=era.base)
            start = max(era.key(prefix), era.key(after) + b"\0" if after else b"")
            end = era.end(prefix)
            if start >= end:
                start = end[:-1] + b"\xff"  # nothing can be there, but the revision is to be told
            wanted = era.theirs(revision) if revision else 0
            is_present = requests.unchanged(era.head, wanted) if wanted else requests.same(era.head, era.created)
            head = requests.read(requests.ranged(era.head, keys_only=True))
            then = [head, requests.read(requests.ranged(start, end, limit=size))]
            otherwise = (
                [head, requests.read(requests.ranged(start, end, limit=size, revision=wanted))] if wanted else []
            )
            try:
                answer = await self._members.ask("Txn", requests.transaction([is_present], then, otherwise))
            except HistoryGone:
                raise await history.compacted(self._members, era, revision, doing="listing") from None
            except FutureRevision:
                raise FutureRevision(f"listing at revision {revision}: it has not happened yet") from None
            if not answer.responses or not answer.responses[0].response_range.kvs:
                await self._session.renew(era)
                continue
            heads, found = (one.response_range for one in answer.responses)
            records = tuple(_record(era, one) for one in found.kvs)
            return Page(
                records=records,
                revision=revision or era.ours(heads.kvs[0].mod_revision),
                remaining=found.count - len(records),
            )

    async def _head(self) -> int:
        while True:
            era = self._session.era
            heads = (await self._members.ask("Range", requests.ranged(era.head, keys_only=True))).kvs
            if heads:
                return era.ours(heads[0].mod_revision)
            await self._session.renew(era)

    async def _head_after(self, earlier: asyncio.Task[int]) -> int:
        await asyncio.wait([earlier])
        self._asking = asyncio.current_task()
        self._asking_next = None
        return await self._head()

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store has been closed")


def _record(era: Era, found: Any) -> Record:
    return Record(
        key=era.name(found.key),
        value=found.value,
        created=era.ours(found.create_revision),
        revision=era.ours(found.mod_revision),
    )
