"""A watch of one prefix: etcd's events as the port's changes, over members that come and go.

    etcd's stream ──▶ events ──▶ changes, each once, in order ──▶ the reader
        │ ended, or its member is silent: the next member, from the revision seen last
        └ compacted: Compacted

Nothing is buffered here: a reader that is slow is slow towards etcd, which keeps the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kontinuum.store.etcd import requests
from kontinuum.store.etcd.era import Era
from kontinuum.store.etcd.errors import Unanswered
from kontinuum.store.etcd.members import Members
from kontinuum.store.etcd.session import Session
from kontinuum.store.port import Change, Compacted

OLDEST_SECONDS = 5.0


async def follow(members: Members, session: Session, prefix: str, after: int) -> AsyncIterator[Change]:
    """See ``Store.watch``. Raises Compacted, and StoreUnavailable when no member can be watched."""
    era = session.era
    position, failures = after, 0
    while True:
        end = asyncio.get_running_loop().time() + members.patience_seconds
        try:
            create = await _creation(members, session, era, prefix, position)
            async for response in members.watch(create):
                failures = 0
                if response.canceled:
                    raise _ended(era, position, response)
                for change in await _changes(members, session, era, response, position):
                    position = change.revision
                    yield change
        except Unanswered as error:
            # The first failures cost a look at the other members; only when none can be watched, the reader is told.
            await members.pause(failures, end=end, error=error)
            failures += 1


async def oldest_kept(members: Members, era: Era) -> int:
    """The oldest revision that can be asked for. etcd tells it only to those who watch from further back."""
    async with asyncio.timeout(OLDEST_SECONDS):
        async for response in members.watch(requests.watched(era.head, b"", start=1)):
            if response.compact_revision:
                return max(era.base, era.ours(response.compact_revision))
    raise AssertionError("a watch never ends without an error")


async def compacted(members: Members, era: Era, revision: int, *, doing: str) -> Compacted:
    """The error for ``revision``, whose history etcd has forgotten."""
    try:
        oldest = await oldest_kept(members, era)
    except TimeoutError:
        oldest = era.base  # Nothing is forgotten any more: it was the era that began after the revision.
    return Compacted(f"{doing} from revision {revision}: history begins at {oldest}", oldest=oldest)


async def _creation(members: Members, session: Session, era: Era, prefix: str, position: int) -> Any:
    """The request for a watch of what comes after ``position``.

    It begins at ``position`` itself, of which nothing is used: so etcd refuses just when more is compacted than that.
    """
    heads = (await members.ask("Range", requests.ranged(era.head, keys_only=True))).kvs
    if not heads:
        raise await _over(session, era, position)
    if position < era.base:
        raise Compacted(f"watching from revision {position}: history begins at {era.base}", oldest=era.base)
    start = max(1, era.theirs(position))
    if era.ours(heads[0].mod_revision) == position:
        # Nothing has happened to us since, so what others have done to etcd, and compacted, cannot concern us.
        current = await members.ask(
            "Txn",
            requests.transaction([requests.unchanged(era.head, heads[0].mod_revision)], []),
        )
        if current.succeeded:
            start = current.header.revision
    return requests.watched(era.key(prefix), era.end(prefix), start=start)


async def _changes(members: Members, session: Session, era: Era, response: Any, position: int) -> list[Change]:
    changes = []
    has_deletions = False
    for event in response.events:
        revision = era.ours(event.kv.mod_revision)
        if revision <= position:
            continue
        changes.append(_change(era, event, revision))
        has_deletions |= changes[-1].deleted
    # When an era is over its keys are removed, which must not look as if everything had been deleted.
    if has_deletions and not (await members.ask("Range", requests.ranged(era.head, keys_only=True))).kvs:
        raise await _over(session, era, position)
    return changes


def _change(era: Era, event: Any, revision: int) -> Change:
    deleted = event.type == requests.DELETE
    if deleted and not event.HasField("prev_kv"):
        raise Compacted(f"watching: what revision {revision} deleted is forgotten already", oldest=revision)
    told = event.prev_kv if deleted else event.kv
    return Change(
        key=era.name(event.kv.key),
        revision=revision,
        value=told.value,
        deleted=deleted,
        created=era.ours(told.create_revision),
    )


def _ended(era: Era, position: int, response: Any) -> Exception:
    """Why etcd has ended a watch."""
    if response.compact_revision:
        oldest = max(era.base, era.ours(response.compact_revision))
        return Compacted(f"watching from revision {position}: history begins at {oldest}", oldest=oldest)
    return Unanswered(f"watching: etcd has ended the watch: {response.cancel_reason or 'it gives no reason'}")


async def _over(session: Session, era: Era, position: int) -> Compacted:
    """Another era is in force: its history does not reach back to ours."""
    await session.renew(era)
    base = session.era.base
    return Compacted(
        f"watching from revision {position}: the store was restored, history begins at {base}", oldest=base
    )
