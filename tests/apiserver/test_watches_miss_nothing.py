"""Watches: in order, exactly once, from where one left off; and what selectors make of updates."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from tests.apiserver.serving import CONFIGMAPS, PODS, TABLE, Api, Certificates, configmap, pod, serving

from kontinuum.apiserver.watcher import Watcher
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.sqlite.store import SqliteStore


async def test_every_kind_of_change_is_told_in_order(api: Api) -> None:
    since = (await api.get(CONFIGMAPS)).version
    async with api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
        await api.create(CONFIGMAPS, configmap("a"))
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
        await api.delete(f"{CONFIGMAPS}/a")
        assert await events.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_event_is_the_object_as_get_answers_it(api: Api) -> None:
    async with api.watch(CONFIGMAPS, "resourceVersion=1") as events:
        created = (await api.create(CONFIGMAPS, configmap("a", x="1"))).body
        assert (await events.next())["object"] == created == (await api.get(f"{CONFIGMAPS}/a")).body


async def test_a_deletion_carries_its_own_revision(api: Api) -> None:
    created = await api.create(CONFIGMAPS, configmap("a"))
    async with api.watch(CONFIGMAPS, f"resourceVersion={created.version}") as events:
        await api.delete(f"{CONFIGMAPS}/a")
        event = await events.next()
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(created.version)


async def test_a_watch_from_nowhere_begins_with_what_there_is(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    async with api.watch(CONFIGMAPS, "") as events:
        assert await events.take(1) == [("ADDED", "a")]
        await api.create(CONFIGMAPS, configmap("b"))
        assert await events.take(1) == [("ADDED", "b")]


async def test_initial_events_end_with_a_marked_bookmark(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    async with api.watch(CONFIGMAPS, query) as events:
        assert await events.take(1) == [("ADDED", "a")]
        mark = await events.next()
        assert mark["type"] == "BOOKMARK" and mark["object"]["kind"] == "ConfigMap"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    async with api.watch(CONFIGMAPS, "sendInitialEvents=true") as refused:
        assert refused.code == 422


async def test_an_update_that_enters_a_selection_is_added_and_one_that_leaves_it_deleted(api: Api) -> None:
    since = (await api.create(CONFIGMAPS, configmap("a", {"tier": "db"}))).version
    async with api.watch(CONFIGMAPS, f"resourceVersion={since}&labelSelector=tier%3Dweb") as events:
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"tier": "web"}}, "data": {"x": "in"}})
        await api.patch(f"{CONFIGMAPS}/a", {"data": {"x": "still in"}})
        left = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"tier": "db"}}, "data": {"x": "out"}})
        await api.delete(f"{CONFIGMAPS}/a")
        await api.create(CONFIGMAPS, configmap("b", {"tier": "web"}))
        entered, changed, gone, other = [await events.next() for _ in range(4)]
    assert [one["type"] for one in (entered, changed, gone, other)] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    # What is told as deleted is the last state that matched, under the revision at which it left.
    assert gone["object"]["data"] == {"x": "still in"}
    assert gone["object"]["metadata"]["resourceVersion"] == left.version
    assert other["object"]["metadata"]["name"] == "b"


async def test_a_node_sees_a_pod_from_its_binding_on(api: Api) -> None:
    since = (await api.create(PODS, pod("p"))).version
    async with api.watch("/api/v1/pods", f"resourceVersion={since}&fieldSelector=spec.nodeName%3Dn1") as events:
        await api.create(f"{PODS}/p/binding", {"metadata": {}, "target": {"kind": "Node", "name": "n1"}})
        assert await events.take(1) == [("ADDED", "p")]


async def test_a_watch_of_one_namespace_hears_nothing_of_another(api: Api) -> None:
    since = (await api.get(CONFIGMAPS)).version
    async with api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
        await api.create("/api/v1/namespaces/kube-public/configmaps", configmap("other"))
        await api.create(CONFIGMAPS, configmap("mine"))
        assert await events.take(1) == [("ADDED", "mine")]


async def test_bookmarks_say_how_far_a_quiet_watch_is(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, bookmark_seconds=0.05) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        now = (await api.get(CONFIGMAPS)).version
        async with api.watch(CONFIGMAPS, "resourceVersion=1&allowWatchBookmarks=true") as events:
            mark = await events.next()
            assert mark["type"] == "BOOKMARK" and mark["object"]["metadata"]["resourceVersion"] == now


async def test_a_watch_ends_at_its_timeout_with_a_last_bookmark(api: Api) -> None:
    async with api.watch(CONFIGMAPS, "resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=1") as events:
        assert [event["type"] for event in await events.rest()] == ["BOOKMARK"]


async def test_a_watch_from_before_the_kept_history_is_told_that_it_expired(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, history_events=5) as api:
        since = (await api.create(CONFIGMAPS, configmap("a"))).version
        for number in range(10):
            await api.patch(f"{CONFIGMAPS}/a", {"data": {"n": str(number)}})
        async with api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
            (error,) = await events.rest()
    assert error["type"] == "ERROR" and error["object"]["code"] == 410 and error["object"]["reason"] == "Expired"
    assert error["object"]["message"].startswith(f"too old resource version: {since} (")


async def test_a_table_watch_sends_rows(api: Api) -> None:
    async with api.watch(CONFIGMAPS, "resourceVersion=1", accept=TABLE) as events:
        await api.create(CONFIGMAPS, configmap("a"))
        event = await events.next()
    assert event["object"]["kind"] == "Table" and event["object"]["rows"][0]["cells"][0] == "a"


async def test_a_stopping_server_ends_its_watches(api: Api) -> None:
    async with api.watch(CONFIGMAPS, "resourceVersion=1") as events:
        stopping = asyncio.create_task(api.server.stop())
        assert await events.rest() == []
        await stopping


async def test_watches_resume_over_a_restart_of_the_server(certificates: Certificates, tmp_path: Any) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    async with serving(store, certificates) as api:
        since = (await api.create(CONFIGMAPS, configmap("a"))).version
        await api.create(CONFIGMAPS, configmap("b"))
        await api.delete(f"{CONFIGMAPS}/a")
    await store.close()
    store = await SqliteStore.open(tmp_path / "store.db")
    async with serving(store, certificates) as api, api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
        assert await events.take(2) == [("ADDED", "b"), ("DELETED", "a")]
    await store.close()


async def _reflect(api: Api, query: str, known: dict[str, str], since: str, stop: asyncio.Event) -> None:
    """What an informer does: apply events, and watch again from the last revision seen whenever the watch breaks."""
    last = int(since)
    while not stop.is_set():
        async with api.watch(CONFIGMAPS, f"resourceVersion={last}&timeoutSeconds=1{query}") as events:
            # We drop the connection in mid-stream, too.
            for _ in range(random.Random(last).randint(1, 40)):
                event = await events.next()
                if not event:
                    break
                name, version = event["object"]["metadata"]["name"], int(event["object"]["metadata"]["resourceVersion"])
                assert version > last, f"{name}: revision {version} came after {last}"
                assert event["type"] in (("MODIFIED", "DELETED") if name in known else ("ADDED",))
                last = version
                if event["type"] == "DELETED":
                    del known[name]
                else:
                    known[name] = str(version)


async def _write(api: Api, chance: random.Random, names: list[str]) -> None:
    for _ in range(60):
        name = chance.choice(names)
        labels = {"tier": chance.choice(["web", "db"])}
        match chance.choice(["create", "patch", "patch", "delete"]):
            case "create":
                await api.create(CONFIGMAPS, configmap(name, labels))
            case "patch":
                await api.patch(
                    f"{CONFIGMAPS}/{name}", {"metadata": {"labels": labels}, "data": {"n": str(chance.random())}}
                )
            case _:
                await api.delete(f"{CONFIGMAPS}/{name}")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("selector", ["", "tier=web"])
async def test_watchers_that_break_and_resume_see_each_change_once_and_in_order(
    certificates: Certificates, tmp_path: Any, seed: int, selector: str
) -> None:
    chance = random.Random(seed)
    store = await SqliteStore.open(tmp_path / "store.db") if seed % 2 else MemoryStore()
    query = f"&labelSelector={selector.replace('=', '%3D')}" if selector else ""
    async with serving(store, certificates) as api:
        since = (await api.get(CONFIGMAPS)).version
        stop = asyncio.Event()
        views: list[dict[str, str]] = [{}, {}, {}]
        watching = [asyncio.create_task(_reflect(api, query, view, since, stop)) for view in views]
        names = [f"c{number}" for number in range(6)]
        await asyncio.gather(*(_write(api, random.Random(chance.random()), names) for _ in range(4)))
        listed = await api.get(f"{CONFIGMAPS}?{query.removeprefix('&')}")
        truth = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed.body["items"]}
        async with asyncio.timeout(30):
            while any(view != truth for view in views) and not any(task.done() for task in watching):
                await asyncio.sleep(0.01)
        stop.set()
        for task in watching:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert views == [truth] * 3
    await store.close()


async def test_a_quiet_watch_costs_nothing_whether_or_not_it_wants_bookmarks(certificates: Certificates) -> None:
    async with serving(MemoryStore(), certificates, bookmark_seconds=0.01) as api:
        waits = 0
        original = Watcher.wait_events

        async def counting(self: Watcher, seconds: float) -> None:
            nonlocal waits
            waits += 1
            await original(self, seconds)

        with pytest.MonkeyPatch.context() as patching:
            patching.setattr(Watcher, "wait_events", counting)
            async with api.watch(CONFIGMAPS, "resourceVersion=1&timeoutSeconds=1") as events:
                assert await events.rest() == []
        assert waits <= 2
