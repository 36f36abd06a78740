"""etcd's side of a backup, a restore and a copy; servers may be at work on either side.

A restore fills the next era (see ``era``), which nobody reads yet, and puts it into force by one transaction that also
removes the present one. Servers then find their sessions gone: what they have under way is refused, and they read
everything again.

    PREFIX N/restoring      who fills era N: each step holds only while this is unchanged, so that of two only one wins
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from kontinuum.foundation.errors import Broken, KontinuumError
from kontinuum.store.etcd import requests
from kontinuum.store.etcd.access import Access
from kontinuum.store.etcd.era import Era, data_of, encode_meta, era_of, head_of, in_force, meta_of, restoring_of
from kontinuum.store.etcd.errors import HistoryGone
from kontinuum.store.etcd.members import Members
from kontinuum.store.port import Compacted
from kontinuum.store.transfer import LEAP, Batches, Item, Occupied

PAGE = 500


class Overtaken(Broken):
    """Another restore has begun into the same etcd, or a server has; ours has changed nothing."""


class EtcdSource:
    """Everything under the prefix at one revision, as a ``transfer.Source``; made by ``reading``."""

    def __init__(self, members: Members, era: Era, *, at: int, count: int) -> None:
        self.revision = era.ours(at)
        self.count = count
        self._members = members
        self._era = era
        self._at = at

    async def items(self) -> AsyncIterator[Sequence[Item]]:
        era, batches = self._era, Batches()
        start, end = era.data, era.end("")
        while True:
            request = requests.ranged(start, end, limit=PAGE, revision=self._at)
            try:
                page = await self._members.ask("Range", request)
            except HistoryGone as error:
                raise Compacted(
                    f"reading etcd at revision {self.revision}: it was compacted away meanwhile; begin again",
                    oldest=self.revision,
                ) from error
            for found in page.kvs:
                full = batches.add(Item(era.name(found.key), found.value))
                if full:
                    yield full
            if not page.more:
                break
            start = page.kvs[-1].key + b"\0"
        if rest := batches.rest():
            yield rest


@asynccontextmanager
async def reading(access: Access) -> AsyncIterator[EtcdSource]:
    """The store in etcd. Raises Broken: there is none under the prefix; StoreUnavailable, AccessDenied."""
    members = Members(access)
    try:
        era = await in_force(members, access.prefix.encode())
        if era is None:
            raise Broken(f"etcd holds nothing under {access.prefix}: there is no such store")
        heads = await members.ask("Range", requests.ranged(era.head, keys_only=True))
        found = await members.ask("Range", _counting(era, heads.header.revision))
        yield EtcdSource(members, era, at=heads.header.revision, count=found.count)
    finally:
        await members.close()


class EtcdTarget:
    """The next era of the store, as a ``transfer.Target``; made by ``replacing``."""

    kept: Path | None = None
    """The era that is replaced is removed: two of them may be more than etcd has room for."""

    def __init__(self, members: Members, prefix: bytes, *, present: Era | None, known: int, meta: int) -> None:
        """``known``: the highest revision given out up to now. ``meta``: when (etcd's revision) that was written."""
        self._members = members
        self._prefix = prefix
        self._present = present
        self._known = known
        self._meta = meta
        # Not the first: a server that begins a new store meanwhile would take what we fill for its own.
        self._number = present.number + 1 if present else 2
        self._token = secrets.token_hex(8).encode()
        self._claimed = 0
        self._base = 0

    async def begin(self, *, revision: int, count: int) -> None:
        # What an earlier restore has left unfinished goes first. etcd takes no two changes of one key in a transaction.
        area, claim = era_of(self._prefix, self._number), self._claim
        await self._members.ask("Txn", requests.transaction([], [requests.delete(area, requests.end_of(area))]))
        answer = await self._members.ask("Txn", requests.transaction([], [requests.put(claim, self._token)]))
        self._claimed = answer.header.revision
        # The items get revisions of etcd's from here on, and the era begins when all are there: a leap is more than
        # anybody who shares this etcd can do meanwhile, so all of them are above what was ever given out.
        self._base = max(revision, self._known) + LEAP

    async def add(self, items: Sequence[Item]) -> None:
        data = data_of(self._prefix, self._number)
        puts = [requests.put(data + item.key.encode(), item.value) for item in items]
        answer = await self._members.ask("Txn", requests.transaction([self._is_ours()], puts))
        if not answer.succeeded:
            raise self._overtaken()

    async def commit(self) -> None:
        then = [
            requests.put(meta_of(self._prefix), encode_meta(era=self._number, base=self._base)),
            requests.put(head_of(self._prefix, self._number), b""),
        ]
        if self._present is not None:
            area = era_of(self._prefix, self._present.number)
            then.append(requests.delete(area, requests.end_of(area)))
        conditions = [self._is_ours(), requests.unchanged(meta_of(self._prefix), self._meta)]
        answer = await self._members.ask("Txn", requests.transaction(conditions, then))
        if not answer.succeeded and not await self._has_happened():
            raise self._overtaken()

    async def discard(self) -> None:
        """Remove what was not committed, unless another restore has taken the place. Best effort."""
        area = era_of(self._prefix, self._number)
        conditions = [self._is_ours(), requests.unchanged(meta_of(self._prefix), self._meta)]
        removal = requests.transaction(conditions, [requests.delete(area, requests.end_of(area))])
        with suppress(KontinuumError):
            await self._members.ask("Txn", removal)

    async def _has_happened(self) -> bool:
        """Whether the transaction had been carried out before, and only its answer was lost."""
        era = await in_force(self._members, self._prefix)
        claims = (await self._members.ask("Range", requests.ranged(self._claim))).kvs
        return era is not None and era.number == self._number and bool(claims) and claims[0].value == self._token

    @property
    def _claim(self) -> bytes:
        return restoring_of(self._prefix, self._number)

    def _is_ours(self) -> Any:
        return requests.unchanged(self._claim, self._claimed)

    def _overtaken(self) -> Overtaken:
        return Overtaken(
            f"restoring into etcd under {self._prefix.decode()}: another restore or a new store has come before this"
            " one; nothing of this one is in force"
        )


@asynccontextmanager
async def replacing(access: Access, *, replace: bool) -> AsyncIterator[EtcdTarget]:
    """The store in etcd as a target. Raises Occupied if it holds something and ``replace`` is False."""
    members = Members(access)
    prefix = access.prefix.encode()
    try:
        metas = await members.ask("Range", requests.ranged(meta_of(prefix)))
        present = await in_force(members, prefix)
        known, count = 0, 0
        if present is not None:
            heads = await members.ask("Range", requests.ranged(present.head, keys_only=True))
            known = present.ours(heads.header.revision)
            count = (await members.ask("Range", _counting(present))).count
        if count and not replace:
            raise Occupied(f"etcd holds {count} objects under {access.prefix}; to replace them, say --force")
        meta = metas.kvs[0].mod_revision if metas.kvs else 0
        target = EtcdTarget(members, prefix, present=present, known=known, meta=meta)
        try:
            yield target
        except BaseException:
            await target.discard()
            raise
    finally:
        await members.close()


def _counting(era: Era, revision: int = 0) -> Any:
    return requests.ranged(era.data, era.end(""), revision=revision, count_only=True)
