"""MemoryStore: a dictionary, and a list of what happened to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from kontinuum.store.broadcast import Broadcast
from kontinuum.store.keys import must_be_absent, must_be_unchanged
from kontinuum.store.past import Pasts
from kontinuum.store.port import Change, Compacted, FutureRevision, Page, Record


@dataclass(frozen=True, slots=True)
class _Entry:
    """A change, and the record it replaced: going back in time is putting these back."""

    change: Change
    before: Record | None


class MemoryStore:
    """See ``store.port.Store``. Keeps the last ``history`` changes (or up to twice as many) for watchers."""

    def __init__(self, *, history: int = 20_000) -> None:
        self._records: dict[str, Record] = {}
        self._log: list[_Entry] = []
        self._revision = 0
        self._compacted = 0
        self._history = history
        self._broadcast = Broadcast()
        self._pasts: Pasts[Record] = Pasts()

    async def create(self, key: str, value: bytes) -> Record:
        must_be_absent(key, self._revision_of(key))
        revision = self._revision + 1
        record = self._records[key] = Record(key=key, value=_compact(value), created=revision, revision=revision)
        self._append(record, before=None, deleted=False)
        return record

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        must_be_unchanged(key, self._revision_of(key), expected)
        before = self._records[key]
        record = self._records[key] = replace(before, value=_compact(value), revision=self._revision + 1)
        self._append(record, before=before, deleted=False)
        return record

    async def delete(self, key: str, *, expected: int) -> Record:
        must_be_unchanged(key, self._revision_of(key), expected)
        before = self._records.pop(key)
        record = replace(before, revision=self._revision + 1)
        self._append(record, before=before, deleted=True)
        return record

    async def get(self, key: str) -> Record | None:
        return self._records.get(key)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        revision = revision or self._revision
        if revision > self._revision:
            raise FutureRevision(f"listing at revision {revision}: the last one is {self._revision}")
        self._must_be_kept(revision)

        def made() -> dict[str, Record]:
            return {key: record for key, record in self._at(revision).items() if key.startswith(prefix)}

        chosen, remaining = self._pasts.page(prefix, revision, made, after=after, limit=limit)
        return Page(records=tuple(record for _, record in chosen), revision=revision, remaining=remaining)

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Change]:
        return self._broadcast.follow(self, prefix, after)

    def changes(self, prefix: str, after: int) -> tuple[Sequence[Change], int | None]:
        """See ``broadcast.Log``."""
        self._must_be_kept(after)
        entries = self._log[self._position(after) :]
        found = [entry.change for entry in entries if entry.change.key.startswith(prefix)]
        return found, None

    async def revision(self) -> int:
        return self._revision

    async def compact(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(f"compacting to revision {revision}: the last one is {self._revision}")
        self._forget(revision)

    async def close(self) -> None:
        """Nothing is in flight and nothing is held."""

    def _append(self, record: Record, *, before: Record | None, deleted: bool) -> None:
        change = Change(
            key=record.key,
            revision=record.revision,
            value=record.value,
            deleted=deleted,
            created=record.created,
        )
        self._revision = record.revision
        self._log.append(_Entry(change, before))
        if len(self._log) > 2 * self._history:
            self._forget(self._revision - self._history)
        self._broadcast.publish([change])

    def _revision_of(self, key: str) -> int | None:
        record = self._records.get(key)
        return record.revision if record else None

    def _at(self, revision: int) -> dict[str, Record]:
        """The records as they were: the present, with every later change undone, the newest first."""
        records = dict(self._records)
        for entry in reversed(self._log[self._position(revision) :]):
            if entry.before is None:
                del records[entry.change.key]
            else:
                records[entry.change.key] = entry.before
        return records

    def _position(self, revision: int) -> int:
        """Where in the log the changes after ``revision`` begin."""
        return bisect_left(self._log, revision + 1, key=lambda entry: entry.change.revision)

    def _forget(self, revision: int) -> None:
        self._log = self._log[self._position(revision) :]
        self._compacted = max(self._compacted, revision)
        self._pasts.forget(self._compacted)

    def _must_be_kept(self, revision: int) -> None:
        if revision < self._compacted:
            raise Compacted(
                f"reading from revision {revision}: history begins at {self._compacted}", oldest=self._compacted
            )


def _compact(value: bytes) -> bytes:
    """The same bytes in no more memory than they need: an encoder may have left its whole buffer behind them."""
    return bytes(memoryview(value))
