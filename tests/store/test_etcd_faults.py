"""etcd's faults: members killed, stopped and cut off, users and compaction. Over TLS, as in earnest."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.store.etcd import Cluster, etcd

from kontinuum.foundation.errors import Broken
from kontinuum.store.conformance import StoreSuite, refusing, take
from kontinuum.store.etcd import Access, EtcdStore
from kontinuum.store.etcd.access import AddressRefused, endpoints_of
from kontinuum.store.etcd.errors import AccessDenied
from kontinuum.store.port import Change, Compacted, Record, Store, StoreUnavailable

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with etcd(3, tls=True) as cluster:
        yield cluster


@pytest.fixture
def whole(three: Cluster) -> Iterator[Cluster]:
    """Three members that run; whatever a test does to them is mended."""
    yield three
    for member in three.members:
        if member.process is None:
            member.start()
        else:
            member.signal(signal.SIGCONT)
    asyncio.run(three.wait_whole())


def fields(access: Access) -> dict[str, object]:
    return {name: getattr(access, name) for name in Access.__dataclass_fields__}


class TestEtcdStoreOnThreeMembersWithTls(StoreSuite):
    @pytest.fixture
    async def store(self, three: Cluster) -> AsyncIterator[Store]:
        store = await EtcdStore.open(three.access())
        yield store
        await store.close()


class Writers:
    """Clients that create, update and delete, and remember what they were told."""

    def __init__(self, store: Store, count: int) -> None:
        self.acknowledged: list[Record] = []
        self.unknown = 0
        self._store = store
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(count)]

    async def _work(self, number: int) -> None:
        turn = 0
        while True:
            key = f"pods/{number}/{turn}"
            turn += 1
            try:
                record = await self._store.create(key, b"1")
                self.acknowledged.append(record)
                record = await self._store.update(key, b"2", expected=record.revision)
                self.acknowledged.append(record)
                if turn % 2:
                    self.acknowledged.append(await self._store.delete(key, expected=record.revision))
            except StoreUnavailable:
                self.unknown += 1

    async def wait_more(self, count: int) -> None:
        """Return when ``count`` more writes have been acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                for task in self._tasks:
                    if task.done():
                        await task
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def follow(store: Store, seen: list[Change]) -> None:
    async for change in store.watch("pods/", after=0):
        seen.append(change)


async def leader_of(cluster: Cluster) -> int:
    """Which member leads, as soon as one does."""
    async with asyncio.timeout(30):
        while True:
            for position, member in enumerate(cluster.members):
                if cluster.is_leader(member):
                    return position
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["kill the leader", "kill the one in use", "stop the leader", "stop the one in use"])
async def test_a_member_that_fails_costs_no_acknowledged_write_and_no_event(whole: Cluster, fault: str) -> None:
    store = await EtcdStore.open(whole.access())
    seen: list[Change] = []
    following = asyncio.create_task(follow(store, seen))
    writers = Writers(store, 8)
    await writers.wait_more(200)
    member = whole.members[await leader_of(whole) if "leader" in fault else store._members._turn]
    if "kill" in fault:
        member.kill()
    else:
        member.signal(signal.SIGSTOP)
    await writers.wait_more(400)
    await writers.stop()
    last = await store.create("pods/last", b"")
    async with asyncio.timeout(30):
        while not seen or seen[-1].revision < last.revision:
            assert not following.done(), following.exception()
            await asyncio.sleep(0.02)
    following.cancel()
    must_be_one_history(seen, writers.acknowledged)
    assert writers.unknown == 0, "two members are left, so the outcome of every write can be found out"
    await store.close()


def must_be_one_history(seen: list[Change], acknowledged: list[Record]) -> None:
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions)), "an event came twice or out of order"
    by_revision = {change.revision: change for change in seen}
    for record in acknowledged:
        change = by_revision[record.revision]
        assert (change.key, change.value, change.created) == (record.key, record.value, record.created)
    present: dict[str, Change] = {}
    for change in seen:
        before = present.get(change.key)
        created = before.created if before is not None else change.revision
        assert change.created == created, f"{change.key} changed without an event"
        if change.deleted:
            assert before is not None and change.value == before.value, f"{change.key} changed without an event"
            del present[change.key]
        else:
            present[change.key] = change


async def test_without_a_quorum_writes_and_reads_are_refused_in_clear_words_until_it_is_back(whole: Cluster) -> None:
    store = await EtcdStore.open(whole.access(patience_seconds=4))
    record = await store.create("pods/a/x", b"one")
    for member in whole.members[1:]:
        member.kill()
    with pytest.raises(StoreUnavailable, match="may or may not have happened"):
        await store.update("pods/a/x", b"two", expected=record.revision)
    with pytest.raises(StoreUnavailable, match=r"etcd at 127\.0\.0\.1:\d+ .*(no leader|time|reached)"):
        await store.get("pods/a/x")
    with pytest.raises(StoreUnavailable):
        await take_patiently(store, after=0)
    for member in whole.members[1:]:
        member.start()
    async with asyncio.timeout(30):
        while True:
            try:
                found = await store.get("pods/a/x")
                break
            except StoreUnavailable:
                continue
    assert found is not None and found.value in (b"one", b"two")
    assert (await store.update("pods/a/x", b"three", expected=found.revision)).value == b"three"
    await store.close()


async def take_patiently(store: Store, *, after: int) -> None:
    async for _ in store.watch("pods/", after=after):
        continue


async def test_a_watch_resumes_over_a_member_that_is_killed_while_nothing_happens(whole: Cluster) -> None:
    store = await EtcdStore.open(whole.access())
    record = await store.create("pods/a/x", b"one")
    changes = store.watch("pods/", after=0)
    assert (await take(changes, 1))[0].revision == record.revision
    waiting = asyncio.create_task(take(changes, 1))
    await asyncio.sleep(0.2)
    whole.members[store._members._turn].kill()
    await asyncio.sleep(0.5)
    after = await store.create("pods/a/y", b"two")
    assert [change.revision for change in await waiting] == [after.revision]
    await store.close()


async def test_a_watch_whose_history_is_compacted_while_it_is_away_says_so(whole: Cluster) -> None:
    store = await EtcdStore.open(whole.access())
    for number in range(10):
        await store.create(f"pods/a/{number}", b"v")
    revision = await store.revision()
    await store.compact(revision)
    async with refusing(Compacted) as refusal:
        await take(store.watch("pods/", after=revision - 5), 1)
    assert isinstance(refusal.error, Compacted) and refusal.error.oldest == revision
    await store.close()


async def test_a_server_that_is_not_whom_we_trust_is_not_talked_to(three: Cluster) -> None:
    access = three.access(patience_seconds=1)
    for wrong in ({"authority": None, "certificate": None, "key": None}, {"authority": access.certificate}):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await EtcdStore.open(Access(**{**fields(access), **wrong}))  # type: ignore[arg-type]


async def test_users_and_passwords() -> None:
    with etcd() as cluster:
        [member] = cluster.members
        cluster.let_in_only("root", password="secret")
        with pytest.raises(Broken, match="user name is empty"):
            await EtcdStore.open(cluster.access(patience_seconds=2))
        with pytest.raises(AccessDenied, match="invalid user ID or password"):
            await EtcdStore.open(cluster.access(user="root", password="wrong"))
        store = await EtcdStore.open(cluster.access(user="root", password="secret"))
        record = await store.create("pods/a/x", b"one")
        store._members._token = "expired.1"
        assert await store.get("pods/a/x") == record
        store._members._token = "expired.1"
        changes = store.watch("pods/", after=0)
        assert [change.revision for change in await take(changes, 1)] == [record.revision]
        # The member forgets its tokens, as after the five minutes for which they are good.
        member.kill()
        member.start()
        updated = await store.update("pods/a/x", b"two", expected=record.revision)
        assert [change.revision for change in await take(changes, 1)] == [updated.revision]
        await store.close()


@pytest.mark.parametrize(
    "address", ["etcd://", "etcd://a", "etcd://a:b", "etcd://a:1,", "http://a:1", "etcd://a:70000"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        endpoints_of(address)


def test_a_password_does_not_travel_readable_to_other_machines() -> None:
    with pytest.raises(AddressRefused, match="readable"):
        Access(endpoints=("10.0.0.1:2379",), user="root", password="secret")
    Access(endpoints=("127.0.0.1:2379",), user="root", password="secret")
