"""What every engine must do, as tests: an engine's test file derives from ``StoreSuite`` and gives a ``store`` fixture.

    class TestMemoryStore(StoreSuite):
        @pytest.fixture
        async def store(self): ...

The suite uses nothing of pytest itself, so that an engine outside this repository can run it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from kontinuum.foundation.errors import KontinuumError
from kontinuum.store.port import (
    AlreadyExists,
    Change,
    Compacted,
    FutureRevision,
    Missing,
    Page,
    Record,
    StaleRevision,
    Store,
)

E = TypeVar("E", bound=KontinuumError)


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """The next ``count`` changes; a watch that stays silent fails after five seconds."""
    async with asyncio.timeout(5):
        return [await anext(changes) for _ in range(count)]


class refusing:
    """``async with refusing(Missing) as refusal``: the block must raise Missing; it is kept in ``refusal.error``."""

    def __init__(self, expected: type[KontinuumError]) -> None:
        self._expected = expected
        self.error: KontinuumError | None = None

    async def __aenter__(self) -> refusing:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        assert isinstance(error, self._expected), f"expected {self._expected.__name__}, got {error!r}"
        self.error = error
        return True


def keys(page: Page) -> list[str]:
    return [record.key for record in page.records]


class _Writes:
    async def test_a_created_value_is_read_back_with_the_revision_of_its_creation(self, store: Store) -> None:
        record = await store.create("pods/a/x", b"one")
        assert record == Record(key="pods/a/x", value=b"one", created=1, revision=1)
        assert await store.get("pods/a/x") == record

    async def test_a_missing_key_reads_as_none(self, store: Store) -> None:
        assert await store.get("pods/a/x") is None

    async def test_creating_what_exists_is_refused_and_changes_nothing(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        async with refusing(AlreadyExists):
            await store.create("pods/a/x", b"two")
        assert await store.get("pods/a/x") == Record("pods/a/x", b"one", 1, 1)
        assert await store.revision() == 1

    async def test_an_update_keeps_the_creation_and_takes_the_next_revision(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.create("pods/a/y", b"other")
        assert await store.update("pods/a/x", b"two", expected=1) == Record("pods/a/x", b"two", 1, 3)
        assert await store.get("pods/a/x") == Record("pods/a/x", b"two", 1, 3)

    async def test_an_update_of_a_stale_revision_is_refused_and_names_the_current_one(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.update("pods/a/x", b"two", expected=1)
        async with refusing(StaleRevision) as refusal:
            await store.update("pods/a/x", b"three", expected=1)
        assert isinstance(refusal.error, StaleRevision)
        assert refusal.error.current == 2
        assert await store.revision() == 2

    async def test_an_update_of_nothing_is_missing(self, store: Store) -> None:
        async with refusing(Missing):
            await store.update("pods/a/x", b"one", expected=1)

    async def test_a_deletion_answers_the_last_value_with_its_own_revision(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        assert await store.delete("pods/a/x", expected=1) == Record("pods/a/x", b"one", 1, 2)
        assert await store.get("pods/a/x") is None
        assert await store.revision() == 2

    async def test_a_deletion_of_a_stale_revision_is_refused(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.update("pods/a/x", b"two", expected=1)
        async with refusing(StaleRevision):
            await store.delete("pods/a/x", expected=1)
        assert (await store.list("pods/")).records == (Record("pods/a/x", b"two", 1, 2),)

    async def test_a_deletion_of_nothing_is_missing(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.delete("pods/a/x", expected=1)
        async with refusing(Missing):
            await store.delete("pods/a/x", expected=1)

    async def test_a_key_created_again_is_a_new_incarnation(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.delete("pods/a/x", expected=1)
        assert await store.create("pods/a/x", b"two") == Record("pods/a/x", b"two", 3, 3)

    async def test_any_bytes_are_a_value(self, store: Store) -> None:
        for position, value in enumerate((b"", bytes(range(256)), b"x" * 1_500_000)):
            await store.create(f"blobs/{position}", value)
            record = await store.get(f"blobs/{position}")
            assert record is not None and record.value == value

    async def test_of_many_updates_of_one_revision_one_wins(self, store: Store) -> None:
        await store.create("pods/a/x", b"0")
        answers = await asyncio.gather(
            *(store.update("pods/a/x", str(number).encode(), expected=1) for number in range(20)),
            return_exceptions=True,
        )
        winners = [answer for answer in answers if isinstance(answer, Record)]
        assert len(winners) == 1 and winners[0].revision == 2
        assert sum(isinstance(answer, StaleRevision) for answer in answers) == 19
        assert await store.get("pods/a/x") == winners[0]

    async def test_concurrent_writes_each_get_a_revision_of_their_own(self, store: Store) -> None:
        records = await asyncio.gather(*(store.create(f"pods/a/{number}", b"x") for number in range(200)))
        assert sorted(record.revision for record in records) == list(range(1, 201))

    async def test_a_write_whose_caller_gave_up_happened_or_did_not(self, store: Store) -> None:
        tasks = [asyncio.ensure_future(store.create(f"pods/a/{number}", b"x")) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.create("pods/a/last", b"x")  # comes after all of them, whichever way they went
        page = await store.list("pods/")
        kept = {record.key: record.revision for record in page.records}
        assert {f"pods/a/{number}" for number in range(1, 20, 2)} <= kept.keys()
        assert page.revision == len(kept) == max(kept.values())


class _Lists:
    async def test_a_list_is_in_key_order_and_tells_its_revision(self, store: Store) -> None:
        for key in ("pods/b/x", "pods/a/y", "podsets/a/z", "pods/a/x", "nodes/n"):
            await store.create(key, b"v")
        page = await store.list("pods/")
        assert keys(page) == ["pods/a/x", "pods/a/y", "pods/b/x"]
        assert (page.revision, page.remaining) == (5, 0)

    async def test_the_list_of_nothing_is_empty_at_the_present_revision(self, store: Store) -> None:
        assert await store.list("pods/") == Page((), 0, 0)
        await store.create("nodes/n", b"v")
        assert await store.list("pods/") == Page((), 1, 0)

    async def test_pages_join_to_the_whole_and_count_what_remains(self, store: Store) -> None:
        for number in range(10):
            await store.create(f"pods/a/{number}", b"v")
        first = await store.list("pods/", limit=4)
        second = await store.list("pods/", limit=4, after=first.records[-1].key, revision=first.revision)
        third = await store.list("pods/", limit=4, after=second.records[-1].key, revision=first.revision)
        assert [page.remaining for page in (first, second, third)] == [6, 2, 0]
        assert [*keys(first), *keys(second), *keys(third)] == [f"pods/a/{number}" for number in range(10)]

    async def test_a_list_of_the_past_shows_the_past(self, store: Store) -> None:
        await store.create("pods/a/kept", b"1")
        await store.create("pods/a/changed", b"2")
        await store.create("pods/a/deleted", b"3")
        await store.create("pods/a/replaced", b"4")
        before = await store.list("pods/")
        await store.update("pods/a/changed", b"22", expected=2)
        await store.delete("pods/a/deleted", expected=3)
        await store.delete("pods/a/replaced", expected=4)
        await store.create("pods/a/replaced", b"44")
        await store.create("pods/a/born", b"5")
        assert await store.list("pods/", revision=4) == before
        assert keys(await store.list("pods/", revision=1)) == ["pods/a/kept"]
        assert keys(await store.list("pods/", revision=7)) == ["pods/a/changed", "pods/a/kept"]

    async def test_pages_of_the_past_show_one_moment_whatever_changes_between_them(self, store: Store) -> None:
        for number in range(10, 30):
            await store.create(f"pods/a/{number}", b"old")
        whole = await store.list("pods/")
        for limit in (3, 7):
            found: list[Record] = []
            while len(found) < 20:
                number = 10 + len(found)
                await store.create(f"pods/a/{number}.new.{limit}", b"new")
                here = await store.get(f"pods/a/{number}")
                if here is not None:
                    await store.update(here.key, b"new", expected=here.revision)
                gone = await store.get(f"pods/a/{49 - number}")
                if gone is not None:
                    await store.delete(gone.key, expected=gone.revision)
                after = found[-1].key if found else ""
                page = await store.list("pods/", limit=limit, after=after, revision=whole.revision)
                found += page.records
                assert page.remaining == 20 - len(found) and page.revision == whole.revision
            assert tuple(found) == whole.records

    async def test_a_list_of_the_future_is_refused(self, store: Store) -> None:
        async with refusing(FutureRevision):
            await store.list("pods/", revision=1)


class _Watches:
    async def test_a_watch_tells_creation_update_and_deletion_in_order(self, store: Store) -> None:
        changes = store.watch("pods/", after=0)
        await store.create("pods/a/x", b"one")
        await store.update("pods/a/x", b"two", expected=1)
        await store.delete("pods/a/x", expected=2)
        assert await take(changes, 3) == [
            Change(key="pods/a/x", revision=1, value=b"one", deleted=False, created=1),
            Change(key="pods/a/x", revision=2, value=b"two", deleted=False, created=1),
            Change(key="pods/a/x", revision=3, value=b"two", deleted=True, created=1),
        ]

    async def test_a_live_watch_tells_the_same_as_the_history(self, store: Store) -> None:
        live = store.watch("pods/", after=0)
        await store.create("pods/a/0", b"0")
        seen = await take(live, 1)
        waiting = asyncio.ensure_future(take(live, 3))
        await store.create("pods/a/1", b"1")
        await store.update("pods/a/1", b"2", expected=2)
        await store.delete("pods/a/1", expected=3)
        seen += await waiting
        assert seen == await take(store.watch("pods/", after=0), 4)

    async def test_a_watch_sees_its_prefix_only(self, store: Store) -> None:
        changes = store.watch("pods/", after=0)
        await store.create("nodes/n", b"v")
        await store.create("podsets/a/x", b"v")
        await store.create("pods/a/x", b"v")
        assert [change.key for change in await take(changes, 1)] == ["pods/a/x"]

    async def test_a_watch_begins_after_the_revision_it_names(self, store: Store) -> None:
        for number in range(5):
            await store.create(f"pods/a/{number}", b"v")
        assert [change.revision for change in await take(store.watch("pods/", after=3), 2)] == [4, 5]

    async def test_list_then_watch_misses_nothing_while_others_write(self, store: Store) -> None:
        async def write(number: int) -> None:
            record = await store.create(f"pods/{number}/x", b"0")
            for step in range(10):
                record = await store.update(f"pods/{number}/x", str(step).encode(), expected=record.revision)

        async def follow() -> list[int]:
            page = await store.list("pods/")
            changes = store.watch("pods/", after=page.revision)
            return list(range(1, page.revision + 1)) + [
                change.revision for change in await take(changes, 88 - page.revision)
            ]

        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(number)) for number in range(8)]
            followers = [group.create_task(follow()) for _ in range(4)]
        assert all(writer.done() for writer in writers)
        assert [follower.result() for follower in followers] == [list(range(1, 89))] * 4

    async def test_a_slow_watcher_loses_nothing_and_holds_up_nobody(self, store: Store) -> None:
        changes = store.watch("pods/", after=0)
        await store.create("pods/a/first", b"v")
        assert (await take(changes, 1))[0].revision == 1
        # More than any buffer holds, but not at once: a member that does not answer in time is another test's matter.
        for start in range(0, 6000, 500):
            await asyncio.gather(*(store.create(f"pods/a/{number}", b"v") for number in range(start, start + 500)))
        assert [change.revision for change in await take(changes, 6000)] == list(range(2, 6002))

    async def test_a_watch_that_is_given_up_leaves_the_others(self, store: Store) -> None:
        first, second = store.watch("pods/", after=0), store.watch("pods/", after=0)
        waiting = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await store.create("pods/a/x", b"v")
        assert [change.key for change in await take(second, 1)] == ["pods/a/x"]


class _Compactions:
    async def test_compaction_keeps_current_values_and_the_revision(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.update("pods/a/x", b"two", expected=1)
        await store.create("pods/a/y", b"gone")
        await store.delete("pods/a/y", expected=3)
        before = await store.list("pods/")
        await store.compact(4)
        assert await store.list("pods/") == before
        assert await store.get("pods/a/x") == Record("pods/a/x", b"two", 1, 2)
        assert (await store.create("pods/a/z", b"new")).revision == 5

    async def test_what_is_compacted_can_be_neither_listed_nor_watched(self, store: Store) -> None:
        for number in range(5):
            await store.create(f"pods/a/{number}", b"v")
        await store.compact(3)
        async with refusing(Compacted) as refusal:
            await store.list("pods/", revision=2)
        assert isinstance(refusal.error, Compacted) and refusal.error.oldest == 3
        async with refusing(Compacted):
            await take(store.watch("pods/", after=2), 1)

    async def test_the_oldest_revision_can_still_be_listed_and_watched(self, store: Store) -> None:
        await store.create("pods/a/x", b"one")
        await store.create("pods/a/y", b"two")
        await store.update("pods/a/x", b"three", expected=1)
        await store.delete("pods/a/y", expected=2)
        await store.compact(2)
        assert [record.value for record in (await store.list("pods/", revision=2)).records] == [b"one", b"two"]
        assert await take(store.watch("pods/", after=2), 2) == [
            Change(key="pods/a/x", revision=3, value=b"three", deleted=False, created=1),
            Change(key="pods/a/y", revision=4, value=b"two", deleted=True, created=2),
        ]

    async def test_a_live_watch_survives_compaction(self, store: Store) -> None:
        changes = store.watch("pods/", after=0)
        await store.create("pods/a/x", b"one")
        await take(changes, 1)
        await store.update("pods/a/x", b"two", expected=1)
        await store.compact(2)
        await store.update("pods/a/x", b"three", expected=2)
        revisions: list[int] = []
        async with asyncio.timeout(5):
            while not revisions or revisions[-1] < 3:
                revisions.append((await anext(changes)).revision)
        assert revisions == [2, 3]

    async def test_compacting_the_past_again_is_harmless_and_the_future_is_refused(self, store: Store) -> None:
        for number in range(3):
            await store.create(f"pods/a/{number}", b"v")
        await store.compact(2)
        await store.compact(1)
        async with refusing(Compacted) as refusal:
            await store.list("pods/", revision=1)
        assert isinstance(refusal.error, Compacted) and refusal.error.oldest == 2
        async with refusing(FutureRevision):
            await store.compact(4)


class StoreSuite(_Writes, _Lists, _Watches, _Compactions):
    """Every promise of ``store.port``; ``store`` is a fixture that yields an empty store and closes it."""
