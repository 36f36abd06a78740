"""The SQLite engine keeps the port's promises, across restarts too."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kontinuum.foundation.errors import Broken
from kontinuum.store.conformance import StoreSuite, keys, refusing, take
from kontinuum.store.port import Compacted, Record, Store, StoreFull, StoreUnavailable
from kontinuum.store.sqlite import SqliteStore


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await SqliteStore.open(tmp_path / "store.db")
        yield store
        await store.close()


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.create("pods/a/x", b"one")
    await store.update("pods/a/x", b"two", expected=1)
    await store.create("pods/a/y", b"gone")
    await store.delete("pods/a/y", expected=3)
    before, history = await store.list("pods/"), await take(store.watch("pods/", after=0), 4)
    await store.close()

    store = await SqliteStore.open(tmp_path / "store.db")
    assert await store.list("pods/") == before
    assert await store.get("pods/a/x") == Record("pods/a/x", b"two", 1, 2)
    assert await take(store.watch("pods/", after=0), 4) == history
    await store.close()


async def test_no_revision_is_used_again_when_the_last_rows_are_compacted_away(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.create("pods/a/x", b"one")
    await store.delete("pods/a/x", expected=1)
    await store.compact(2)
    await store.close()

    store = await SqliteStore.open(tmp_path / "store.db")
    assert await store.revision() == 2
    assert (await store.create("pods/a/x", b"two")).revision == 3
    async with refusing(Compacted):
        await store.list("pods/", revision=1)
    await store.close()


async def test_history_is_bounded_and_the_file_with_it(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", history=100)
    record = await store.create("pods/a/x", b"v" * 1000)
    for _ in range(5000):
        record = await store.update("pods/a/x", b"v" * 1000, expected=record.revision)
    assert len(await take(store.watch("pods/", after=record.revision - 100), 100)) == 100
    async with refusing(Compacted):
        await take(store.watch("pods/", after=0), 1)
    await store.close()
    assert (tmp_path / "store.db").stat().st_size < 5000 * 1000 / 2


async def test_who_reads_every_key_page_by_page_comes_to_the_end_while_each_of_them_changes(tmp_path: Path) -> None:
    """However short the history is meant to be."""
    store = await SqliteStore.open(tmp_path / "store.db", history=10)
    records = await asyncio.gather(*(store.create(f"pods/a/{number:04}", b"old") for number in range(3000)))
    first = await store.list("pods/", limit=100)
    found = list(first.records)
    while len(found) < 3000:
        changed = records[len(found) - 100 : len(found)]
        await asyncio.gather(*(store.update(one.key, b"new", expected=one.revision) for one in changed))
        page = await store.list("pods/", limit=100, after=found[-1].key, revision=first.revision)
        found += page.records
    assert {one.value for one in found} == {b"old"}
    await store.close()


async def test_a_full_store_refuses_writes_reads_on_and_writes_again_when_there_is_space(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", quota_bytes=400_000)
    written: list[Record] = []
    async with refusing(StoreFull):
        while True:
            written.append(await store.create(f"blobs/{len(written)}", b"x" * 50_000))
    assert 3 < len(written) < 9
    answers = await asyncio.gather(
        *(store.create(f"blobs/more-{number}", b"x" * 50_000) for number in range(5)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {StoreFull}
    assert (await store.list("blobs/")).records == tuple(written)
    assert await store.revision() == written[-1].revision

    small = await store.update("blobs/0", b"", expected=1)
    await store.compact(small.revision)
    assert (await store.create("blobs/again", b"x" * 40_000)).revision == small.revision + 1
    await store.close()


async def test_a_disk_that_turns_read_only_refuses_writes_and_is_read_on(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    record = await store.create("pods/a/x", b"one")
    # What SQLite answers on a disk that the kernel has remounted read-only after an error.
    store._database.writer.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.update("pods/a/x", b"two", expected=record.revision)
    assert await store.get("pods/a/x") == record
    store._database.writer.execute("PRAGMA query_only = OFF")
    assert (await store.update("pods/a/x", b"two", expected=record.revision)).revision == 2
    await store.close()


async def test_a_slow_reader_of_a_long_list_is_not_confused_by_compaction(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    await asyncio.gather(*(store.create(f"pods/a/{number:04}", b"old") for number in range(1000)))

    async def overwrite_everything() -> None:
        records = (await store.list("pods/")).records[::-1]
        for some in (records[place : place + 20] for place in range(0, len(records), 20)):
            await asyncio.gather(*(store.update(one.key, b"new", expected=one.revision) for one in some))
            await store.compact(await store.revision())

    overwriting = asyncio.ensure_future(overwrite_everything())
    while not overwriting.done():
        # Side by side they are slow: a compaction overtakes some of them.
        for page in await asyncio.gather(*(store.list("pods/") for _ in range(8))):
            assert len(page.records) == 1000
            assert max(record.revision for record in page.records) == page.revision
    await overwriting
    await store.close()


async def test_two_processes_cannot_own_one_file(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    with pytest.raises(Broken, match="another process has it open"):
        await SqliteStore.open(tmp_path / "store.db")
    await store.close()
    await (await SqliteStore.open(tmp_path / "store.db")).close()


async def test_a_damaged_file_is_left_alone_and_the_message_says_how_to_restore(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    for number in range(200):
        await store.create(f"pods/a/{number}", b"v" * 500)
    await store.close()
    path = tmp_path / "store.db"
    damaged = bytearray(path.read_bytes())
    damaged[3 * 4096 : 12 * 4096] = b"\xff" * (9 * 4096)
    path.write_bytes(damaged)
    with pytest.raises(Broken, match=r"damaged.*Restore it from a backup"):
        await SqliteStore.open(path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as a header" * 100])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    with pytest.raises(Broken, match="damaged"):
        await SqliteStore.open(path)


async def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(Broken, match="not a store of this version"):
        await SqliteStore.open(tmp_path / "store.db")


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="must exist and be writable"):
        await SqliteStore.open(tmp_path / "nowhere" / "store.db")


async def test_closing_finishes_what_was_submitted_and_refuses_what_comes_later(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    writes = [asyncio.ensure_future(store.create(f"pods/a/{number}", b"v")) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(record.revision for record in await asyncio.gather(*writes)) == list(range(1, 51))
    async with refusing(StoreUnavailable):
        await store.create("pods/a/late", b"v")
    store = await SqliteStore.open(tmp_path / "store.db")
    assert len(keys(await store.list("pods/"))) == 50
    await store.close()
