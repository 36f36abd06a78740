"""Kubernetes' conformance behaviours of watches, as its end-to-end tests show them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.apiserver.serving import CONFIGMAPS, Api, Events, configmap

A, B = {"watch": "multiple-watchers-A"}, {"watch": "multiple-watchers-B"}


async def _quiet(events: Events) -> bool:
    """Nothing has been sent: what is sent next is what is done next, by a write that is told of."""
    return await events.rest() == []


@pytest.mark.behaviour("Watchers should observe add, update, and delete watch notifications on configmaps")
async def test_watchers_of_labels_hear_all_and_only_what_matches(api: Api) -> None:
    since = (await api.get(CONFIGMAPS)).version
    async with contextlib.AsyncExitStack() as stack:

        async def watching(selector: str) -> Events:
            query = f"resourceVersion={since}&labelSelector={selector}&timeoutSeconds=2"
            return await stack.enter_async_context(api.watch(CONFIGMAPS, query))

        of_a = await watching("watch%3Dmultiple-watchers-A")
        of_b = await watching("watch%3Dmultiple-watchers-B")
        of_both = await watching("watch+in+(multiple-watchers-A,multiple-watchers-B)")
        await api.create(CONFIGMAPS, configmap("a", A))
        for mutation in ("1", "2"):
            await api.patch(f"{CONFIGMAPS}/a", {"data": {"mutation": mutation}})
        await api.delete(f"{CONFIGMAPS}/a")
        await api.create(CONFIGMAPS, configmap("b", B))
        await api.delete(f"{CONFIGMAPS}/b")
        life_of_a = [("ADDED", "a"), ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        life_of_b = [("ADDED", "b"), ("DELETED", "b")]
        assert await of_a.take(4) == life_of_a and await of_b.take(2) == life_of_b
        assert await of_both.take(6) == life_of_a + life_of_b
        assert await _quiet(of_a) and await _quiet(of_b) and await _quiet(of_both)


@pytest.mark.behaviour("Watchers should be able to start watching from a specific resource version")
async def test_a_watch_from_a_past_version_hears_only_what_came_after(api: Api) -> None:
    await api.create(CONFIGMAPS, configmap("c"))
    first = await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "1"}})
    second = await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "2"}})
    await api.delete(f"{CONFIGMAPS}/c")
    async with api.watch(CONFIGMAPS, f"resourceVersion={first.version}&timeoutSeconds=1") as events:
        changed, gone, *more = await events.rest()
    assert (changed["type"], changed["object"]["metadata"]["resourceVersion"]) == ("MODIFIED", second.version)
    assert (gone["type"], gone["object"]["data"]) == ("DELETED", {"mutation": "2"}) and not more


@pytest.mark.behaviour(
    "Watchers should be able to restart watching from the last resource version observed by the previous watch"
)
async def test_a_watch_goes_on_where_the_one_before_left_off(api: Api) -> None:
    created = await api.create(CONFIGMAPS, configmap("c"))
    async with api.watch(CONFIGMAPS, f"resourceVersion={created.version}") as events:
        await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "1"}})
        last = (await events.next())["object"]["metadata"]["resourceVersion"]
    await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "2"}})
    await api.delete(f"{CONFIGMAPS}/c")
    async with api.watch(CONFIGMAPS, f"resourceVersion={last}&timeoutSeconds=1") as events:
        changed, gone, *more = await events.rest()
    assert (changed["type"], changed["object"]["data"]) == ("MODIFIED", {"mutation": "2"})
    assert gone["type"] == "DELETED" and not more


@pytest.mark.behaviour(
    "Watchers should observe an object deletion if it stops meeting the requirements of the selector"
)
async def test_what_leaves_a_selector_is_deleted_and_unheard_of_until_it_returns(api: Api) -> None:
    inside, outside = {"watch": "label-changed-and-restored"}, {"watch": "wrong-value"}
    since = (await api.get(CONFIGMAPS)).version
    query = f"resourceVersion={since}&labelSelector=watch%3Dlabel-changed-and-restored&timeoutSeconds=1"
    async with api.watch(CONFIGMAPS, query) as events:
        await api.create(CONFIGMAPS, configmap("c", inside))
        await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "1"}})
        await api.patch(f"{CONFIGMAPS}/c", {"metadata": {"labels": outside}})
        await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "2"}})
        await api.patch(f"{CONFIGMAPS}/c", {"metadata": {"labels": inside}})
        await api.patch(f"{CONFIGMAPS}/c", {"data": {"mutation": "3"}})
        await api.delete(f"{CONFIGMAPS}/c")
        seen = [(event["type"], event["object"].get("data", {}).get("mutation")) for event in await events.rest()]
    assert seen == [
        ("ADDED", None), ("MODIFIED", "1"), ("DELETED", "1"), ("ADDED", "2"), ("MODIFIED", "3"), ("DELETED", "3"),
    ]  # fmt: skip


@pytest.mark.behaviour("Watchers should receive events on concurrent watches in same order")
async def test_watches_that_begin_at_each_event_of_another_see_the_same_from_there(api: Api) -> None:
    count = 60
    writing = asyncio.create_task(_write(api, count))
    since = (await api.get(CONFIGMAPS)).version
    first: list[str] = []
    others: list[asyncio.Task[list[str]]] = []
    async with api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
        for number in range(count):
            version = (await events.next())["object"]["metadata"]["resourceVersion"]
            first.append(version)
            if number < count - 1:
                others.append(asyncio.create_task(_versions(api, version, count - number - 1)))
    await writing
    for position, other in enumerate(others, start=1):
        assert await other == first[position:]


async def _write(api: Api, count: int) -> None:
    await asyncio.sleep(0.05)
    for number in range(count):
        name, step = f"c{number // 3}", number % 3
        match step:
            case 0:
                await api.create(CONFIGMAPS, configmap(name))
            case 1:
                await api.patch(f"{CONFIGMAPS}/{name}", {"data": {"changed": "yes"}})
            case _:
                await api.delete(f"{CONFIGMAPS}/{name}")


async def _versions(api: Api, since: str, count: int) -> list[str]:
    async with api.watch(CONFIGMAPS, f"resourceVersion={since}") as events:
        seen: list[dict[str, Any]] = [await events.next() for _ in range(count)]
    return [event["object"]["metadata"]["resourceVersion"] for event in seen]
