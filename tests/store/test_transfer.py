"""What is carried from one store to another is all of it, or nothing; and no revision is ever told twice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from tests.store.etcd import Cluster, etcd

from kontinuum.foundation.errors import Broken
from kontinuum.store.conformance import refusing, take
from kontinuum.store.etcd import EtcdStore
from kontinuum.store.etcd import transfer as etcd_transfer
from kontinuum.store.etcd.requests import end_of, ranged
from kontinuum.store.port import Compacted, Missing, Record, StaleRevision, Store, StoreUnavailable
from kontinuum.store.sqlite import SqliteStore
from kontinuum.store.sqlite import transfer as sqlite_transfer
from kontinuum.store.transfer import LEAP, Batches, Incomplete, Item, Occupied, Source, Target, carry


class Place(Protocol):
    """Where a store may be: opened, read at one moment, filled."""

    def open(self) -> AbstractAsyncContextManager[Store]: ...
    def reading(self) -> AbstractAsyncContextManager[Source]: ...
    def replacing(self, *, replace: bool = False) -> AbstractAsyncContextManager[Target]: ...


class InSqlite:
    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Store]:
        store = await SqliteStore.open(self.path)
        yield store
        await store.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Source]:
        with sqlite_transfer.reading(self.path) as source:
            yield source

    @asynccontextmanager
    async def replacing(self, *, replace: bool = False) -> AsyncIterator[Target]:
        with sqlite_transfer.replacing(self.path, replace=replace) as target:
            yield target


class InEtcd:
    def __init__(self, cluster: Cluster) -> None:
        self.access = cluster.access()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Store]:
        store = await EtcdStore.open(self.access)
        yield store
        await store.close()

    def reading(self) -> AbstractAsyncContextManager[Source]:
        return etcd_transfer.reading(self.access)

    def replacing(self, *, replace: bool = False) -> AbstractAsyncContextManager[Target]:
        return etcd_transfer.replacing(self.access, replace=replace)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with etcd() as one:
        yield one


@pytest.fixture(params=["sqlite", "etcd"])
def place(request: pytest.FixtureRequest, tmp_path: Path, cluster: Cluster) -> Place:
    return InSqlite(tmp_path / "store.db") if request.param == "sqlite" else InEtcd(cluster)


@pytest.fixture(params=["sqlite", "etcd"])
def other(request: pytest.FixtureRequest, tmp_path: Path, cluster: Cluster) -> Place:
    return InSqlite(tmp_path / "other.db") if request.param == "sqlite" else InEtcd(cluster)


async def fill(store: Store) -> None:
    """Some of everything: changed, deleted and created again, empty, large, and more than one batch."""
    record = await store.create("pods/a/changed", b"1")
    await store.update("pods/a/changed", b"2", expected=record.revision)
    record = await store.create("pods/a/gone", b"x")
    await store.delete("pods/a/gone", expected=record.revision)
    record = await store.create("pods/a/again", b"x")
    await store.delete("pods/a/again", expected=record.revision)
    await store.create("pods/a/again", b"y")
    await store.create("pods/é/empty", b"")
    await store.create("blobs/large", bytes(range(256)) * 4000)
    await asyncio.gather(*(store.create(f"many/{number:03}", b"v" * number) for number in range(250)))


async def contents(store: Store) -> dict[str, bytes]:
    return {record.key: record.value for record in (await store.list("")).records}


async def carried(source: Place, target: Place, *, replace: bool = False) -> list[int]:
    """Carry everything; what was told of the progress."""
    told: list[int] = []
    async with source.reading() as one, target.replacing(replace=replace) as two:
        await carry(one, two, told.append)
    return told


async def test_everything_arrives_and_every_revision_is_above_those_that_were_given_out(
    place: Place, other: Place
) -> None:
    async with place.open() as store:
        await fill(store)
        before, revision = await contents(store), await store.revision()
    told = await carried(place, other)
    assert told[-1] == len(before) and told == sorted(told) and len(told) > 2
    async with other.open() as store:
        page = await store.list("")
        assert {record.key: record.value for record in page.records} == before
        assert all(revision < record.created <= record.revision <= page.revision for record in page.records)
        assert page.revision == await store.revision() >= revision + LEAP
        made = await store.create("pods/a/new", b"v")
        record = page.records[0]
        changed = await store.update(record.key, b"!", expected=record.revision)
        assert page.revision < made.revision < changed.revision
        seen = await take(store.watch("", after=page.revision), 2)
        assert [change.revision for change in seen] == [made.revision, changed.revision]
        assert seen[1].created == record.created


async def test_whoever_comes_with_an_old_revision_is_told_so(place: Place, other: Place) -> None:
    async with place.open() as store:
        await fill(store)
        known = await store.get("pods/a/changed")
        revision = await store.revision()
    assert known is not None
    await carried(place, other)
    async with other.open() as store:
        async with refusing(Compacted) as refusal:
            await take(store.watch("pods/", after=revision), 1)
        assert isinstance(refusal.error, Compacted) and refusal.error.oldest > revision
        async with refusing(Compacted):
            await store.list("pods/", revision=revision)
        async with refusing(StaleRevision):
            await store.update(known.key, b"from the past", expected=known.revision)
        async with refusing(StaleRevision):
            await store.delete(known.key, expected=known.revision)


async def test_a_store_that_holds_something_is_replaced_only_if_that_is_wished(place: Place, other: Place) -> None:
    async with place.open() as store:
        await store.create("pods/a/wanted", b"1")
    async with other.open() as store:
        kept = await store.create("pods/a/precious", b"2")
        for _ in range(20):
            kept = await store.update(kept.key, b"2", expected=kept.revision)
    async with refusing(Occupied) as refusal:
        await carried(place, other)
    assert "--force" in str(refusal.error)
    async with other.open() as store:
        assert await store.get(kept.key) == kept
    await carried(place, other, replace=True)
    async with other.open() as store:
        assert await contents(store) == {"pods/a/wanted": b"1"}
        assert await store.revision() >= kept.revision + LEAP
        async with refusing(Missing):
            await store.update(kept.key, b"3", expected=kept.revision)
    await carried(place, other, replace=True)
    async with other.open() as store:
        assert await store.revision() >= kept.revision + 2 * LEAP


async def test_an_empty_store_is_carried_too(place: Place, other: Place) -> None:
    async with place.open() as store:
        record = await store.create("pods/a/x", b"")
        await store.delete("pods/a/x", expected=record.revision)
    await carried(place, other)
    async with other.open() as store:
        assert await contents(store) == {}
        assert await store.revision() >= LEAP + record.revision + 1


class Leaky:
    """A source that breaks off, or keeps something back."""

    revision = 7
    count = 3

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def items(self) -> AsyncIterator[Sequence[Item]]:
        yield [Item("pods/a/1", b"1"), Item("pods/a/2", b"2")]
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [None, StoreUnavailable("gone"), asyncio.CancelledError()])
async def test_what_does_not_reach_its_end_changes_nothing(place: Place, error: BaseException | None) -> None:
    async with place.open() as store:
        record = await store.create("pods/a/precious", b"1")
        revision = await store.revision()
    with pytest.raises(type(error) if error else Incomplete):
        async with place.replacing(replace=True) as target:
            await carry(Leaky(error), target, lambda _: None)
    async with place.open() as store:
        assert await contents(store) == {"pods/a/precious": b"1"}
        assert await store.get(record.key) == record
        assert await store.revision() == revision
    if isinstance(place, InSqlite):
        assert sorted(one.name for one in place.path.parent.iterdir()) == ["store.db", "store.db-lock"]
    else:
        async with EtcdOpen(place) as (opened, prefix):
            found = await opened._members.ask("Range", ranged(prefix + b"2/", end_of(prefix + b"2/")))
            assert not found.kvs, "what had been filled already is left behind"


async def test_what_a_killed_restore_has_left_is_not_in_the_next_one(place: Place, other: Place) -> None:
    async with place.open() as store:
        await store.create("pods/a/wanted", b"1")
    async with other.open() as store:
        await store.create("pods/a/before", b"0")
    # A process that is killed does not discard what it has begun.
    killed = other.replacing(replace=True)
    target = await killed.__aenter__()
    await target.begin(revision=9, count=2)
    await target.add([Item("pods/a/half", b"")])
    if isinstance(target, sqlite_transfer.SqliteTarget):
        target.discard = target.close  # type: ignore[method-assign]
    await killed.__aexit__(None, None, None)
    async with other.open() as store:
        assert await contents(store) == {"pods/a/before": b"0"}
    await carried(place, other, replace=True)
    async with other.open() as store:
        assert await contents(store) == {"pods/a/wanted": b"1"}


class EtcdOpen:
    """A store in etcd with its prefix, to look behind it."""

    def __init__(self, place: Place) -> None:
        assert isinstance(place, InEtcd)
        self._access = place.access

    async def __aenter__(self) -> tuple[EtcdStore, bytes]:
        self._store = await EtcdStore.open(self._access)
        return self._store, self._access.prefix.encode()

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


async def test_a_store_that_is_not_there_is_not_made_by_reading_it(place: Place) -> None:
    with pytest.raises(Broken, match="no such store"):
        async with place.reading():
            pass
    with pytest.raises(Broken, match="no such store"):
        async with place.reading():
            pass


async def test_a_backup_of_a_busy_store_is_one_moment_of_it(place: Place) -> None:
    async with place.open() as store:
        first, second = await store.create("a/first", b"0"), await store.create("z/second", b"0")
        await asyncio.gather(*(store.create(f"m/{number:04}", b"v" * 100) for number in range(1500)))

        async def count() -> None:
            """The first is ahead of the second by at most one, at every revision."""
            one, two, number = first, second, 0
            while True:
                number += 1
                one = await store.update(one.key, b"%d" % number, expected=one.revision)
                two = await store.update(two.key, b"%d" % number, expected=two.revision)

        counting = asyncio.create_task(count())
        for _ in range(5):
            await asyncio.sleep(0.05)
            async with place.reading() as source:
                found: dict[str, bytes] = {}
                async for items in source.items():
                    found |= dict(items)
                    await asyncio.sleep(0.002)
            assert len(found) == source.count == 1502
            assert int(found["a/first"]) - int(found["z/second"]) in (0, 1)
        assert not counting.done()
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)


async def test_a_file_that_a_server_has_open_is_not_replaced_nor_copied(tmp_path: Path) -> None:
    place = InSqlite(tmp_path / "store.db")
    async with place.open() as store:
        await store.create("pods/a/x", b"1")
        with pytest.raises(Broken, match="another process has it open"):
            async with place.replacing(replace=True):
                pass
        with (
            pytest.raises(Broken, match="another process has it open"),
            sqlite_transfer.reading(place.path, alone=True),
        ):
            pass
        assert (await store.create("pods/a/y", b"2")).revision == 2
    with sqlite_transfer.reading(place.path, alone=True) as source:
        assert source.count == 2
        with pytest.raises(Broken, match="another process has it open"):
            await SqliteStore.open(place.path)


async def test_what_was_replaced_is_kept_and_can_be_put_back(tmp_path: Path) -> None:
    place, old = InSqlite(tmp_path / "store.db"), InSqlite(tmp_path / "old.db")
    for number, one in enumerate((place, old)):
        async with one.open() as store:
            await store.create(f"pods/a/{number}", b"")
    for expected in ("store.db.replaced-1", "store.db.replaced-2"):
        async with old.reading() as source, place.replacing(replace=True) as target:
            await carry(source, target, lambda _: None)
        assert target.kept == tmp_path / expected
    async with InSqlite(tmp_path / "store.db.replaced-1").open() as store:
        assert await contents(store) == {"pods/a/0": b""}


async def test_a_damaged_store_is_no_source_and_is_replaced_only_if_that_is_wished(tmp_path: Path) -> None:
    place, good = InSqlite(tmp_path / "store.db"), InSqlite(tmp_path / "good.db")
    for one in (place, good):
        async with one.open() as store:
            await fill(store)
    damaged = bytearray(place.path.read_bytes())
    damaged[3 * 4096 : 12 * 4096] = b"\xff" * (9 * 4096)
    place.path.write_bytes(damaged)
    with pytest.raises(Broken, match=r"damaged.*kontinuum restore FILE --force"):
        async with place.reading():
            pass
    async with refusing(Occupied):
        await carried(good, place)
    await carried(good, place, replace=True)
    assert (tmp_path / "store.db.replaced-1").read_bytes() == damaged
    async with place.open() as store, good.open() as origin:
        assert await contents(store) == await contents(origin)


async def test_a_store_that_was_killed_is_read_with_what_is_in_its_log_only(tmp_path: Path) -> None:
    place = InSqlite(tmp_path / "store.db")
    async with place.open() as store:
        await store.create("pods/a/x", b"1")
        # As after a kill: the write-ahead log is not folded in.
        for suffix in ("", "-wal"):
            Path(f"{tmp_path}/copy.db{suffix}").write_bytes(Path(f"{place.path}{suffix}").read_bytes())
    async with InSqlite(tmp_path / "copy.db").reading() as source:
        assert source.count == 1


async def test_a_foreign_database_is_no_store(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(Broken, match="not a store of this version"):
        async with InSqlite(tmp_path / "store.db").reading():
            pass


async def test_servers_at_work_on_etcd_go_over_to_what_was_restored(cluster: Cluster, tmp_path: Path) -> None:
    place, origin = InEtcd(cluster), InSqlite(tmp_path / "store.db")
    async with origin.open() as store:
        await store.create("pods/a/restored", b"1")
    async with place.open() as first, place.open() as second:
        doomed = await first.create("pods/a/doomed", b"0")
        changes = second.watch("pods/", after=0)
        assert (await take(changes, 1))[0].revision == doomed.revision
        waiting = asyncio.create_task(take(changes, 1))
        await asyncio.sleep(0.1)
        await carried(origin, place, replace=True)
        with pytest.raises(Compacted, match="restored"):
            await waiting
        for store in (first, second):
            assert await contents(store) == {"pods/a/restored": b"1"}
            async with refusing(Missing):
                await store.update(doomed.key, b"!", expected=doomed.revision)
        record, revision = await first.get("pods/a/restored"), await first.revision()
        assert record is not None
        after = await second.update(record.key, b"2", expected=record.revision)
        assert (await take(first.watch("pods/", after=revision), 1))[0].revision == after.revision


async def test_writes_under_way_during_a_restore_are_in_what_follows_or_are_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    place, origin = InEtcd(cluster), InSqlite(tmp_path / "store.db")
    async with origin.open() as store:
        await store.create("pods/a/restored", b"1")
    async with place.open() as store:
        acknowledged: list[Record] = []

        async def write(number: int) -> None:
            for turn in range(10_000):
                acknowledged.append(await store.create(f"pods/{number}/{turn}", b""))

        writers = [asyncio.create_task(write(number)) for number in range(4)]
        while len(acknowledged) < 50:
            await asyncio.sleep(0.01)
        await carried(origin, place, replace=True)
        more = len(acknowledged) + 50
        while len(acknowledged) < more:
            await asyncio.sleep(0.01)
            assert not any(writer.done() for writer in writers)
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        begun = [record.revision for record in acknowledged if record.revision < LEAP]
        later = {record.key for record in acknowledged if record.revision >= LEAP}
        found = await contents(store)
        assert begun and later <= found.keys()
        assert found.keys() - later - {f"pods/{number}/{turn}" for number in range(4) for turn in range(10_000)} == {
            "pods/a/restored"
        }
        assert not {record.key for record in acknowledged if record.revision < LEAP} & found.keys()


async def test_of_two_restores_into_one_etcd_the_later_one_wins_and_the_other_says_so(cluster: Cluster) -> None:
    place = InEtcd(cluster)
    async with place.replacing() as second:
        with pytest.raises(etcd_transfer.Overtaken):
            async with place.replacing() as first:
                await first.begin(revision=5, count=1)
                await first.add([Item("pods/a/first", b"")])
                await second.begin(revision=5, count=1)
                await second.add([Item("pods/a/second", b"")])
                await first.add([Item("pods/a/more", b"")])
        await second.commit()
    async with place.open() as store:
        assert await contents(store) == {"pods/a/second": b""}


async def test_a_new_store_that_a_server_begins_during_a_restore_is_not_overwritten(cluster: Cluster) -> None:
    place = InEtcd(cluster)
    with pytest.raises(etcd_transfer.Overtaken):
        async with place.replacing() as target:
            await target.begin(revision=5, count=1)
            await target.add([Item("pods/a/restored", b"")])
            async with place.open() as store:
                await store.create("pods/a/theirs", b"")
            await target.commit()
    async with place.open() as store:
        assert await contents(store) == {"pods/a/theirs": b""}


def test_batches_are_bounded_in_number_and_size() -> None:
    batches = Batches()
    items = [Item(f"k/{number}", b"x" * (200_000 if number % 7 == 0 else 10)) for number in range(1000)]
    full = [batch for item in items if (batch := batches.add(item))]
    full.append(batches.rest())
    assert [item for batch in full for item in batch] == items
    assert all(0 < len(batch) <= 100 for batch in full)
    assert all(sum(len(item.value) + len(item.key) for item in batch) <= 512 * 1024 for batch in full)
