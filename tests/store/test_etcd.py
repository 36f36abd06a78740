"""The etcd engine keeps the port's promises, alone and beside others on the same etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.store.etcd import Cluster, etcd

from kontinuum.store.conformance import StoreSuite, refusing, take
from kontinuum.store.etcd import EtcdStore
from kontinuum.store.etcd.errors import Unanswered
from kontinuum.store.etcd.messages import MESSAGES
from kontinuum.store.etcd.requests import end_of, ranged
from kontinuum.store.port import Record, Store, ValueTooLarge


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with etcd() as one:
        yield one


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[Store]:
    store = await EtcdStore.open(cluster.access())
    yield store
    await store.close()


class TestEtcdStore(StoreSuite):
    pass


async def test_two_stores_on_one_etcd_see_each_others_writes_at_once_and_in_order(cluster: Cluster) -> None:
    access = cluster.access()
    first, second = await EtcdStore.open(access), await EtcdStore.open(access)
    changes = second.watch("pods/", after=await second.revision())
    written = []
    for number in range(20):
        writer, reader = (first, second) if number % 2 else (second, first)
        written.append(await writer.create(f"pods/a/{number}", b"v"))
        assert await reader.get(f"pods/a/{number}") == written[-1]
        assert await reader.revision() == written[-1].revision
    seen = await take(changes, 20)
    assert [(change.key, change.revision) for change in seen] == [(one.key, one.revision) for one in written]
    await first.close()
    await second.close()


async def test_everything_is_there_for_the_next_process_and_nothing_of_the_last_one_stays(cluster: Cluster) -> None:
    access = cluster.access()
    store = await EtcdStore.open(access)
    record = await store.create("pods/a/x", b"one")
    await store.close()
    for _ in range(3):
        store = await EtcdStore.open(access)
        assert await store.get("pods/a/x") == record
        sessions = await store._members.ask(
            "Range", ranged(store._session.era.sessions, end_of(store._session.era.sessions))
        )
        assert sessions.count == 1
        await store.close()


async def test_two_prefixes_of_one_etcd_do_not_see_each_other(cluster: Cluster) -> None:
    mine, theirs = await EtcdStore.open(cluster.access()), await EtcdStore.open(cluster.access())
    record = await mine.create("pods/a/x", b"mine")
    assert await theirs.get("pods/a/x") is None
    assert await theirs.revision() == 0
    for number in range(50):
        await theirs.create(f"pods/a/{number}", b"theirs")
    # What others did, and compacted, is not our history: nobody has to list again.
    await theirs.compact(50)
    assert await mine.revision() == record.revision
    assert (await mine.list("pods/", revision=record.revision)).records == (record,)
    changes = mine.watch("pods/", after=record.revision)
    waiting = asyncio.ensure_future(take(changes, 1))
    await asyncio.sleep(0.1)
    after = await mine.create("pods/a/y", b"mine")
    assert [change.revision for change in await waiting] == [after.revision]
    await mine.close()
    await theirs.close()


async def test_a_value_beyond_etcds_limit_is_refused_by_name_and_changes_nothing(store: Store) -> None:
    async with refusing(ValueTooLarge) as refusal:
        await store.create("pods/a/x", b"x" * 2_000_000)
    assert "max-request-bytes" in str(refusal.error)
    assert await store.get("pods/a/x") is None


async def test_a_long_list_is_read_in_pages_of_one_revision(store: Store) -> None:
    for start in range(0, 2500, 100):
        await asyncio.gather(*(store.create(f"pods/a/{start + number:05}", b"v" * 1000) for number in range(100)))
    whole = await store.list("pods/")
    assert [record.key for record in whole.records] == [f"pods/a/{number:05}" for number in range(2500)]
    # On a slow machine an answer may come too late, and making sure of its write takes a revision too.
    assert whole.revision == await store.revision() >= 2500 and whole.remaining == 0
    part = await store.list("pods/", limit=1500, after="pods/a/00009")
    assert (len(part.records), part.remaining, part.records[0].key) == (1500, 990, "pods/a/00010")


async def test_a_write_whose_answer_was_lost_is_told_as_it_was(cluster: Cluster) -> None:
    """The member carries each write out, and its answer does not arrive."""
    store = await EtcdStore.open(cluster.access())
    losing = LosingAnswers(store, carried_out=True)
    created = await store.create("pods/a/x", b"one")
    assert created == Record("pods/a/x", b"one", created.revision, created.revision)
    updated = await store.update("pods/a/x", b"two", expected=created.revision)
    assert updated == Record("pods/a/x", b"two", created.revision, updated.revision)
    assert await store.get("pods/a/x") == updated
    deleted = await store.delete("pods/a/x", expected=updated.revision)
    assert deleted == Record("pods/a/x", b"two", created.revision, deleted.revision)
    changes = await take(store.watch("pods/", after=0), 3)
    assert [change.revision for change in changes] == [created.revision, updated.revision, deleted.revision]
    assert losing.lost == 3
    await store.close()


async def test_a_write_that_did_not_arrive_is_sent_again_and_happens_once(cluster: Cluster) -> None:
    store = await EtcdStore.open(cluster.access())
    losing = LosingAnswers(store, carried_out=False)
    record = await store.create("pods/a/x", b"one")
    assert await store.get("pods/a/x") == record
    assert len(await take(store.watch("pods/", after=0), 1)) == 1
    assert losing.lost == 1
    await store.close()


async def test_a_write_that_arrives_after_it_was_given_up_does_not_happen(cluster: Cluster) -> None:
    """The request is held back, the store fences it off and sends it again; then the first one arrives."""
    store = await EtcdStore.open(cluster.access())
    held = LosingAnswers(store, carried_out=False)
    record = await store.create("pods/a/x", b"one")
    await store.delete("pods/a/x", expected=record.revision)
    [late] = held.requests
    assert not (await store._members.ask("Txn", late)).succeeded
    assert await store.get("pods/a/x") is None
    await store.close()


async def test_a_session_that_was_swept_away_begins_again(cluster: Cluster) -> None:
    store = await EtcdStore.open(cluster.access())
    sessions = store._session.era.sessions
    await store._members.ask("DeleteRange", MESSAGES["DeleteRangeRequest"](key=sessions, range_end=end_of(sessions)))
    record = await store.create("pods/a/x", b"one")
    assert await store.get("pods/a/x") == record
    await store.close()


class LosingAnswers:
    """Between the store and its members: the answer to each first try of a write is lost."""

    def __init__(self, store: EtcdStore, *, carried_out: bool) -> None:
        self.lost = 0
        self.requests: list[Any] = []
        self._ask_once = store._members.ask_once
        self._carried_out = carried_out
        self._next_is_lost = True
        store._members.ask_once = self.ask_once  # type: ignore[method-assign]

    async def ask_once(self, name: str, request: Any, *, end: float) -> Any:
        is_write = name == "Txn" and len(request.compare) == 2
        if not is_write:
            return await self._ask_once(name, request, end=end)
        if self._next_is_lost:
            self._next_is_lost = self._carried_out  # what was not carried out is tried again, and then succeeds
            self.lost += 1
            self.requests.append(request)
            if self._carried_out:
                await self._ask_once(name, request, end=end)
            raise Unanswered("the answer is lost")
        return await self._ask_once(name, request, end=end)
