"""The writer: a thread that owns the connection and turns whatever has queued up into one transaction.

    queued ──▶ planned (each against what the ones before it leave) ──▶ committed ──▶ handed to the loop, once
                   │ refused: answered, takes no part                └▶ failed: all answered, nothing was changed

While a commit waits for the disk, the next batch gathers: one sync serves many clients, and a lone one does not wait.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Literal

import structlog
from msgspec import Struct

from kontinuum.foundation.errors import KontinuumError
from kontinuum.store.keys import must_be_absent, must_be_unchanged
from kontinuum.store.port import Change, FutureRevision, Record, StoreUnavailable
from kontinuum.store.sqlite import rows
from kontinuum.store.sqlite.database import Database, explain
from kontinuum.store.sqlite.index import Head
from kontinuum.store.sqlite.rows import Row

log = structlog.get_logger(__name__)

BATCH_WRITES = 512
BATCH_BYTES = 8 << 20
"""One transaction takes no more than this, so that a write behind a flood of large ones is not kept waiting."""
COMPACTION_STEP = 1024
"""Revisions forgotten in one transaction (about 5 ms)."""


class Write(Struct):
    """A caller's wish. ``answer`` belongs to the event loop and is resolved there."""

    action: Literal["create", "update", "delete"]
    key: str
    value: bytes
    expected: int
    answer: asyncio.Future[Record]


@dataclass(slots=True)
class Compaction:
    """The wish to forget history up to ``revision``."""

    revision: int
    answer: asyncio.Future[None]


@dataclass(slots=True)
class Batch:
    """The outcome of one transaction, on its way to the event loop."""

    rows: list[Row] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    records: list[tuple[asyncio.Future[Record], Record]] = field(default_factory=list)
    refusals: list[tuple[asyncio.Future[Record], KontinuumError]] = field(default_factory=list)


class Plan:
    """Decides a batch: which writes hold, and the rows they become. Pure; ``heads`` is only read."""

    def __init__(self, heads: dict[str, Head], *, revision: int) -> None:
        self._committed = heads
        self.heads: dict[str, Head | None] = {}
        """What differs from ``heads`` after this batch; None: deleted."""
        self.revision = revision

    def add(self, write: Write) -> Row:
        """The row that ``write`` becomes. Raises AlreadyExists, Missing, StaleRevision."""
        head = self.heads[write.key] if write.key in self.heads else self._committed.get(write.key)
        if write.action == "create":
            must_be_absent(write.key, head.revision if head else None)
        else:
            must_be_unchanged(write.key, head.revision if head else None, write.expected)
        self.revision += 1
        deleted = write.action == "delete"
        created = head.created if head else self.revision
        self.heads[write.key] = None if deleted else Head(self.revision, created)
        previous = head.revision if head else None
        return Row(self.revision, write.key, created, previous, deleted, None if deleted else write.value)


class Writer:
    """See the module. ``deliver`` is called on ``loop`` with each batch, in the order of commits."""

    def __init__(
        self, database: Database, *, history: int, loop: asyncio.AbstractEventLoop, deliver: Callable[[Batch], None]
    ) -> None:
        self._path = database.path
        self._connection = database.writer
        self._history = history
        self._loop = loop
        self._deliver = deliver
        self._submitted: list[Write | Compaction] = []
        self._queue: SimpleQueue[list[Write | Compaction] | None] = SimpleQueue()
        self._gathered: deque[Write | Compaction] = deque()
        """Taken out of the queue, and for a batch to come."""
        self._revision = rows.last_revision(self._connection)
        self._compacted = rows.compacted(self._connection)
        self.heads = {key: Head(*head) for key, head in rows.present(self._connection).items()}
        # A daemon: everything that was acknowledged is on disk, so an interpreter that ends need not wait for it.
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    @property
    def revision(self) -> int:
        """The last revision; meaningful to others only before ``start``."""
        return self._revision

    def start(self) -> None:
        self._thread.start()

    def submit(self, wish: Write | Compaction) -> None:
        """Queue a wish; its answer comes through ``deliver``. Call it on ``loop``."""
        # Requests that came together are decided in one turn of the loop, and so become one batch: a batch costs the
        # interpreter's lock several times, a wish in it nothing.
        if not self._submitted:
            self._loop.call_soon(self.pass_on)
        self._submitted.append(wish)

    def pass_on(self) -> None:
        """Give the thread what has been submitted."""
        if self._submitted:
            self._queue.put(self._submitted)
            self._submitted = []

    def finish(self) -> None:
        """Carry out what was passed on, then end. Blocks; call it from another thread than the loop's."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            writes, compactions, going = self._gather()
            if writes:
                self._hand_over(self._commit(writes))
            for compaction in compactions:
                self._answer(compaction, self._compact_on_request(compaction.revision))
            self._bound_history()

    def _gather(self) -> tuple[list[Write], list[Compaction], bool]:
        """Wait for a wish, then take all that is there, within a batch's bounds; False at the end."""
        writes: list[Write] = []
        compactions: list[Compaction] = []
        size = 0
        if not self._gathered and not self._take(block=True):
            return writes, compactions, False
        while self._gathered and len(writes) < BATCH_WRITES and size < BATCH_BYTES:
            wish = self._gathered.popleft()
            if isinstance(wish, Compaction):
                compactions.append(wish)
            else:
                writes.append(wish)
                size += len(wish.value)
            if not self._gathered and not self._take(block=False):
                return writes, compactions, False
        return writes, compactions, True

    def _take(self, *, block: bool) -> bool:
        """Move what waits in the queue, if anything does, to what is gathered; False at the end."""
        try:
            wishes = self._queue.get(block)
        except Empty:
            return True
        if wishes is None:
            return False
        self._gathered.extend(wishes)
        return True

    def _commit(self, writes: Sequence[Write]) -> Batch:
        """Write the batch durably. An error leaves the file and ``heads`` as they were and is everybody's answer."""
        plan, batch = Plan(self.heads, revision=self._revision), Batch()
        accepted: list[tuple[Write, Row]] = []
        for write in writes:
            try:
                accepted.append((write, plan.add(write)))
            except KontinuumError as refusal:
                batch.refusals.append((write.answer, refusal))
        if not accepted:
            return batch
        batch.rows = [row for _, row in accepted]
        try:
            deleted = self._append(batch.rows)
        except Exception as error:
            # A refusal may rest on a neighbour that did not happen, so it falls with the rest.
            failure = self._failure("writing", error)
            return Batch(refusals=[(write.answer, failure) for write in writes])
        for write, row in accepted:
            value = deleted[row.revision] if row.value is None else row.value
            batch.changes.append(Change(row.key, row.revision, value, row.deleted, row.created))
            batch.records.append((write.answer, Record(row.key, value, row.created, row.revision)))
        self._adopt(plan)
        return batch

    def _append(self, appended: Sequence[Row]) -> dict[int, bytes]:
        """Commit the rows; answers the last value of what they delete, by the deletion's revision."""
        # Read first, since nothing may fail once the rows are durable.
        last = self._last_values(appended)
        with self._transaction(begins=len(appended) > rows.AT_ONCE):
            rows.append(self._connection, appended)
        return last

    def _last_values(self, appended: Sequence[Row]) -> dict[int, bytes]:
        deletions = {row.revision: row.previous for row in appended if row.deleted and row.previous is not None}
        if not deletions:
            return {}
        # What was written in the same batch is not to be read yet.
        known = {row.revision: row.value for row in appended}
        stored = [one for one in deletions.values() if one not in known]
        known |= dict(zip(stored, rows.values(self._connection, stored), strict=True))
        return {revision: value for revision, one in deletions.items() if (value := known[one]) is not None}

    def _adopt(self, plan: Plan) -> None:
        self._revision = plan.revision
        for key, head in plan.heads.items():
            if head is None:
                self.heads.pop(key, None)
            else:
                self.heads[key] = head

    def _bound_history(self) -> None:
        """Forget what is beyond the kept history, one step at a time, after the callers have their answers."""
        target = self._revision - max(self._history, len(self.heads))
        if target - self._compacted < COMPACTION_STEP:
            return
        try:
            self._compact(self._compacted + COMPACTION_STEP)
        except Exception as error:
            # Nobody asked for it and nobody is hurt by a longer history: the next batch tries again.
            log.warning("history could not be compacted", error=str(self._failure("compacting", error)))

    def _compact_on_request(self, revision: int) -> KontinuumError | None:
        if revision > self._revision:
            return FutureRevision(f"compacting to revision {revision}: the last one is {self._revision}")
        try:
            while self._compacted < revision:
                self._compact(min(revision, self._compacted + COMPACTION_STEP))
        except Exception as error:
            return self._failure("compacting", error)
        return None

    def _compact(self, upto: int) -> None:
        with self._transaction():
            rows.compact(self._connection, after=self._compacted, upto=upto)
        self._compacted = upto

    def _transaction(self, *, begins: bool = True) -> _Transaction:
        return _Transaction(self._connection, begins=begins)

    def _failure(self, doing: str, error: Exception) -> KontinuumError:
        if isinstance(error, sqlite3.Error):
            return explain(self._path, doing, error)
        log.error("the store's writer met an unexpected error", doing=doing, exc_info=error)
        return StoreUnavailable(f"{doing}: {error!r}")

    def _hand_over(self, batch: Batch) -> None:
        self._loop.call_soon_threadsafe(self._deliver, batch)

    def _answer(self, compaction: Compaction, failure: KontinuumError | None) -> None:
        def resolve() -> None:
            if compaction.answer.done():
                return
            if failure is None:
                compaction.answer.set_result(None)
            else:
                compaction.answer.set_exception(failure)

        self._loop.call_soon_threadsafe(resolve)


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT; an error rolls back (SQLite may have done so itself, for want of space).

    ``begins`` False: what is inside is one statement, which SQLite makes a transaction of by itself.
    """

    def __init__(self, connection: sqlite3.Connection, *, begins: bool) -> None:
        self._connection = connection
        self._begins = begins

    def __enter__(self) -> None:
        if self._begins:
            self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None and self._begins:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
