"""SqliteStore: the event loop's side. It answers reads itself and waits for the writer's hand-overs.

A read needs no thread: a look-up by row id takes some 10 microseconds, less than a hop to a thread and back. The loop
sees one ordered timeline, the writer's batches: ``get``, ``list``, ``watch`` and ``revision`` always agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from kontinuum.store.broadcast import Broadcast
from kontinuum.store.keys import end_of
from kontinuum.store.past import Pasts
from kontinuum.store.port import Change, Compacted, FutureRevision, Page, Record, StoreUnavailable
from kontinuum.store.sqlite import rows
from kontinuum.store.sqlite.database import Database, explaining, open_database
from kontinuum.store.sqlite.index import Head, Index
from kontinuum.store.sqlite.writer import Batch, Compaction, Write, Writer

HISTORY = 20_000
"""Changes kept for those who come back: minutes of a busy cluster; some 60 MB of pods on disk, nothing in memory.
As many as there are keys are kept in any case: who reads all of them, page by page, must come to the end."""
HISTORY_STEP = 1024
"""Revisions that a watcher reads from the log at once, so that it does not hold up the loop."""


class SqliteStore:
    """See ``store.port.Store``; made by ``open``."""

    def __init__(self, database: Database, *, history: int) -> None:
        """Takes over ``database``; must be called on the event loop's thread."""
        self._database = database
        self._reader = database.reader
        self._broadcast = Broadcast()
        self._pasts: Pasts[Head] = Pasts()
        self._closed = False
        # Kept, because to ask which one runs takes a system call.
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(database, history=history, loop=self._loop, deliver=self._receive)
        self._index = Index(self._writer.heads, revision=self._writer.revision)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, history: int = HISTORY, quota_bytes: int = 0) -> SqliteStore:
        """Open or make the store in the file ``path`` (its directory must exist).

        ``history``: how many changes are kept for watchers, at least. ``quota_bytes``: the file may not outgrow this
        (0: the disk is the limit); beyond it writes raise StoreFull.
        Raises Broken when the file is damaged, foreign, owned by another process or not writable; StoreFull.
        """
        database = await asyncio.to_thread(open_database, Path(path), quota_bytes=quota_bytes)
        return cls(database, history=history)

    async def create(self, key: str, value: bytes) -> Record:
        return await self._write("create", key, value, expected=0)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        return await self._write("update", key, value, expected=expected)

    async def delete(self, key: str, *, expected: int) -> Record:
        return await self._write("delete", key, b"", expected=expected)

    async def get(self, key: str) -> Record | None:
        while (head := self._index.get(key)) is not None:
            value = self._values([head.revision])[0]
            if value is not None:
                return Record(key=key, value=value, created=head.created, revision=head.revision)
            # The key has changed and the old row is compacted already: the hand-over that says so is due.
            await asyncio.sleep(0)
        return None

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        chosen: Sequence[tuple[str, Head]]
        while True:
            present = self._index.revision
            if revision > present:
                raise FutureRevision(f"listing at revision {revision}: the last one is {present}")
            if revision in (0, present):
                chosen, remaining = self._index.page(prefix, after=after, limit=limit)
            else:
                chosen, remaining = self._past_page(prefix, revision, after=after, limit=limit)
            records = await self._read(chosen)
            if records is not None:
                return Page(records=records, revision=revision or present, remaining=remaining)
            # Compaction overtook us between two reads: begin again, with the present or with an answer Compacted.

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        return self._broadcast.follow(self, prefix, after)

    def changes(self, prefix: str, after: int) -> tuple[Sequence[Change], int | None]:
        """See ``broadcast.Log``."""
        present = self._index.revision
        upto = min(present, after + HISTORY_STEP)
        with explaining(self._database.path, "reading history"), self._snapshot(after):
            found = rows.changes(self._reader, first=prefix, end=end_of(prefix), after=after, upto=upto)
        changes = [
            Change(key=key, revision=revision, value=value, deleted=bool(deleted), created=created)
            for key, revision, value, deleted, created in found
        ]
        return changes, upto if upto < present else None

    async def revision(self) -> int:
        return self._index.revision

    async def compact(self, revision: int) -> None:
        self._must_be_open()
        answer: asyncio.Future[None] = self._loop.create_future()
        self._writer.submit(Compaction(revision, answer))
        await answer
        self._pasts.forget(revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.pass_on()
        await asyncio.to_thread(self._writer.finish)
        await asyncio.sleep(0)  # the last hand-over is answered before its caller can see the store closed
        self._database.close()

    async def _write(
        self, action: Literal["create", "update", "delete"], key: str, value: bytes, *, expected: int
    ) -> Record:
        self._must_be_open()
        answer: asyncio.Future[Record] = self._loop.create_future()
        self._writer.submit(Write(action, key, value, expected, answer))
        return await answer

    def _receive(self, batch: Batch) -> None:
        """A hand-over: the present moves on, watchers are told, then the callers; so none can read behind its write."""
        self._index.apply(batch.rows)
        self._broadcast.publish(batch.changes)
        for answer, record in batch.records:
            if not answer.done():  # a caller that was cancelled; its write stands
                answer.set_result(record)
        for answer, refusal in batch.refusals:
            if not answer.done():
                answer.set_exception(refusal)

    async def _read(self, chosen: Sequence[tuple[str, Head]]) -> tuple[Record, ...] | None:
        """The records, in pieces that do not hold up the loop; None if one of them has been compacted meanwhile."""
        records: list[Record] = []
        for piece in rows.slices(chosen):
            values = self._values([head.revision for _, head in piece])
            for (key, head), value in zip(piece, values, strict=True):
                if value is None:
                    return None
                records.append(Record(key=key, value=value, created=head.created, revision=head.revision))
            await asyncio.sleep(0)
        return tuple(records)

    def _values(self, revisions: Sequence[int]) -> Sequence[bytes | None]:
        self._must_be_open()
        with explaining(self._database.path, "reading"):
            return rows.values(self._reader, revisions)

    def _past_page(
        self, prefix: str, revision: int, *, after: str, limit: int
    ) -> tuple[Sequence[tuple[str, Head]], int]:
        def made() -> dict[str, Head]:
            undone = rows.undone(
                self._reader, first=prefix, end=end_of(prefix), after=revision, upto=self._index.revision
            )
            return self._index.past(prefix, undone)

        with explaining(self._database.path, "reading history"), self._snapshot(revision):
            return self._pasts.page(prefix, revision, made, after=after, limit=limit)

    def _snapshot(self, revision: int) -> _Snapshot:
        self._must_be_open()
        return _Snapshot(self._database, revision)

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store has been closed")


class _Snapshot:
    """A read transaction in which history from ``revision`` on is whole. Raises Compacted on entry if it is not."""

    def __init__(self, database: Database, revision: int) -> None:
        self._reader = database.reader
        self._revision = revision

    def __enter__(self) -> None:
        self._reader.execute("BEGIN")
        oldest = rows.compacted(self._reader)
        if self._revision < oldest:
            self._reader.execute("ROLLBACK")
            raise Compacted(f"reading from revision {self._revision}: history begins at {oldest}", oldest=oldest)

    def __exit__(self, *error: object) -> None:
        self._reader.execute("ROLLBACK")
