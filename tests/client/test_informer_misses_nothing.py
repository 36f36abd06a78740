"""Whatever happens to the watch, an informer ends up with what the server has, and told every difference once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.api.kubernetes.resources import CONFIGMAPS, PODS
from kontinuum.api.machinery.objects import Object, key_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.informer import Informer
from kontinuum.client.rest import Client
from kontinuum.client.transport.fake import FakeApi, Faults
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel


def config(name: str, value: str = "") -> Object:
    return {"metadata": {"name": name, "namespace": "default", "labels": {"value": value}}, "data": {"value": value}}


class Follower:
    """An informer and a mirror that is built from nothing but what its handlers are told."""

    def __init__(self, api: FakeApi, faults: Faults) -> None:
        self.informer = Informer(
            Client(api.channel(faults)),
            CONFIGMAPS,
            clock=VirtualClock(),
            indexes={"value": lambda obj: [obj["data"]["value"]]},
            digest=lambda obj: (obj["metadata"]["name"], obj["data"]["value"]),
        )
        self.mirror: dict[str, str] = {}
        self.informer.add_handler(self._told)

    def _told(self, change: str, obj: Object, old: Object | None) -> None:
        key = key_of(obj)
        assert (change == "added") == (key not in self.mirror)
        if change == "deleted":
            del self.mirror[key]
        else:
            self.mirror[key] = obj["data"]["value"]

    def known(self) -> dict[str, str]:
        return {key_of(obj): obj["data"]["value"] for obj in self.informer.items()}


def follow(scenario: Callable[[FakeApi, Faults, Follower], Awaitable[None]]) -> None:
    """Run ``scenario`` beside an informer, then let an hour pass and compare."""

    async def main() -> None:
        api, faults = FakeApi(), Faults()
        follower = Follower(api, faults)
        task = asyncio.create_task(follower.informer.run())
        await follower.informer.wait_synced()
        await scenario(api, faults, follower)
        faults.down = False
        await asyncio.sleep(3600)
        actual = {key_of(obj): obj["data"]["value"] for obj in api.storage.all(CONFIGMAPS)}
        assert follower.known() == actual
        assert follower.mirror == actual
        for value in {"a", "b", ""}:
            filed = {key_of(obj) for obj in follower.informer.by_index("value", value)}
            assert filed == {key for key, has in actual.items() if has == value}
            digests = follower.informer.digests("value", value)
            assert sorted(digests) == sorted((key.partition("/")[2], actual[key]) for key in filed)
        await cancel(task)

    virtual_time.run(main)


def test_changes_are_told_as_they_happen() -> None:
    async def scenario(api: FakeApi, faults: Faults, follower: Follower) -> None:
        client = api.client()
        await client.create(CONFIGMAPS, config("one", "a"))
        await asyncio.sleep(0.01)
        assert follower.known() == {"default/one": "a"}
        await client.patch(CONFIGMAPS, "one", {"data": {"value": "b"}}, namespace="default")
        await asyncio.sleep(0.01)
        assert follower.known() == {"default/one": "b"}
        await client.delete(CONFIGMAPS, "one", namespace="default")
        await asyncio.sleep(0.01)
        assert follower.known() == {}

    follow(scenario)


def test_an_object_deleted_while_history_was_lost_is_told_as_deleted() -> None:
    async def scenario(api: FakeApi, faults: Faults, follower: Follower) -> None:
        client = api.client()
        await client.create(CONFIGMAPS, config("one", "a"))
        await asyncio.sleep(1)
        faults.down = True
        api.drop_watches()
        await client.delete(CONFIGMAPS, "one", namespace="default")
        await client.create(CONFIGMAPS, config("two", "b"))
        api.compact()
        await asyncio.sleep(120)
        assert follower.known() == {"default/one": "a"}, "nothing can be known while the server is away"

    follow(scenario)


def test_an_object_replaced_while_nobody_looked_is_told_as_deleted_and_added() -> None:
    async def scenario(api: FakeApi, faults: Faults, follower: Follower) -> None:
        told: list[str] = []
        client = api.client()
        await client.create(CONFIGMAPS, config("one", "a"))
        await asyncio.sleep(1)
        follower.informer.add_handler(lambda change, obj, old: told.append(change))
        faults.down = True
        api.drop_watches()
        await client.delete(CONFIGMAPS, "one", namespace="default")
        await client.create(CONFIGMAPS, config("one", "b"))
        api.compact()
        faults.down = False
        await asyncio.sleep(120)
        assert told == ["added", "deleted", "added"]

    follow(scenario)


def test_lists_are_read_page_by_page_to_the_end() -> None:
    async def main() -> None:
        api = FakeApi()
        for number in range(1201):
            await api.client().create(CONFIGMAPS, config(f"c{number:04}", "a"))
        informer = Informer(api.client(), CONFIGMAPS, clock=VirtualClock())
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        assert len(informer.all_keys()) == 1201
        await cancel(task)

    virtual_time.run(main)


def test_an_idle_informer_asks_for_a_watch_a_dozen_times_an_hour_and_never_lists_again() -> None:
    async def main() -> None:
        asked: list[bool] = []

        def count(request: object) -> ApiError | None:
            asked.append(request.is_watch)  # type: ignore[attr-defined]
            return None

        informer = Informer(Client(FakeApi().channel(Faults(refuse=count))), PODS, clock=VirtualClock())
        task = asyncio.create_task(informer.run())
        await asyncio.sleep(3599)
        assert asked.count(False) == 1
        assert asked.count(True) == 12
        await cancel(task)

    virtual_time.run(main)


def test_what_is_listed_every_so_often_is_never_watched_and_only_real_changes_are_told() -> None:
    async def main() -> None:
        api = FakeApi()
        told: list[tuple[str, str]] = []
        informer = Informer(
            Client(api.channel(Faults())),
            CONFIGMAPS,
            clock=VirtualClock(),
            trim=lambda obj: {
                "metadata": {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "labels")}
            },
            every=60.0,
        )
        informer.add_handler(lambda change, obj, old: told.append((change, obj["metadata"]["name"])))
        client = api.client()
        await client.create(CONFIGMAPS, config("a"))
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        for number in range(5):
            await client.patch(CONFIGMAPS, "a", {"data": {"renewed": str(number)}}, namespace="default")
            await asyncio.sleep(60)
        assert told == [("added", "a")]
        await client.patch(CONFIGMAPS, "a", {"metadata": {"labels": {"new": "one"}}}, namespace="default")
        await client.create(CONFIGMAPS, config("b"))
        await asyncio.sleep(61)
        await client.delete(CONFIGMAPS, "b", namespace="default")
        await asyncio.sleep(61)
        assert told == [("added", "a"), ("updated", "a"), ("added", "b"), ("deleted", "b")]
        await cancel(task)

    virtual_time.run(main)


STEP = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(["one", "two", "three"]), st.sampled_from(["a", "b"])),
    st.tuples(st.just("delete"), st.sampled_from(["one", "two", "three"]), st.just("")),
    st.tuples(st.sampled_from(["drop", "compact", "down", "up"]), st.just(""), st.just("")),
    st.tuples(st.just("wait"), st.sampled_from(["0.001", "1", "40"]), st.just("")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_no_order_of_changes_and_faults_leaves_a_wrong_copy(steps: list[tuple[str, str, str]]) -> None:
    async def scenario(api: FakeApi, faults: Faults, follower: Follower) -> None:
        client = api.client()
        for what, name, value in steps:
            exists = api.storage.get(CONFIGMAPS, f"default/{name}") is not None
            if what == "set" and exists:
                await client.patch(CONFIGMAPS, name, {"data": {"value": value}}, namespace="default")
            elif what == "set":
                await client.create(CONFIGMAPS, config(name, value))
            elif what == "delete" and exists:
                await client.delete(CONFIGMAPS, name, namespace="default")
            elif what == "drop":
                api.drop_watches()
            elif what == "compact":
                api.compact()
            elif what in ("down", "up"):
                faults.down = what == "down"
                api.drop_watches()
            elif what == "wait":
                await asyncio.sleep(float(name))

    follow(scenario)
