"""Long lists in pages: one state over all of them while others write, and a way on once that state is forgotten."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.apiserver.serving import CONFIGMAPS, PODS, Answer, Api, Certificates, configmap, pod, serving

from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Store
from kontinuum.store.sqlite.store import SqliteStore

TEMPLATES = "/api/v1/namespaces/default/podtemplates"


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.body["items"]]


def template(number: int) -> dict[str, object]:
    spec = {"containers": [{"name": "main", "image": "localhost/nginx:1"}]}
    return {"metadata": {"name": f"template-{number:04}"}, "template": {"spec": spec}}


async def _create(api: Api, count: int) -> None:
    for start in range(0, count, 50):
        await asyncio.gather(*(api.create(TEMPLATES, template(number)) for number in range(start, start + 50)))


@pytest.mark.behaviour("Servers with support for API chunking should return chunks of results for list calls")
async def test_chunks_of_any_size_are_full_tell_what_remains_and_hold_everything_once(api: Api) -> None:
    await _create(api, 400)
    for seed in range(3):
        chance, found, token, version = random.Random(seed), [], "", ""
        while True:
            limit = chance.randint(1, 397)
            page = await api.get(f"{TEMPLATES}?limit={limit}&continue={token}")
            metadata, found = page.body["metadata"], found + names(page)
            version = version or page.version
            assert len(page.body["items"]) <= limit and page.version == version
            token = metadata.get("continue", "")
            assert metadata.get("remainingItemCount", 0) == 400 - len(found)
            if not token:
                break
            assert len(page.body["items"]) == limit
        assert found == [f"template-{number:04}" for number in range(400)]
    whole = await api.get(f"{TEMPLATES}?limit=500")
    assert len(whole.body["items"]) == 400 and "continue" not in whole.body["metadata"]


@pytest.mark.behaviour(
    "Servers with support for API chunking should support continue listing from the last key if the original version "
    "has been compacted away, though the list is inconsistent"
)
async def test_a_list_whose_state_was_compacted_away_goes_on_inconsistently(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates) as api:
        await _create(api, 400)
        first = await api.get(f"{TEMPLATES}?limit=40")
        await api.delete(f"{TEMPLATES}/template-0399")
        await store.compact(await store.revision())
        old = first.body["metadata"]["continue"]
        expired = await api.get(f"{TEMPLATES}?limit=40&continue={old}")
        assert (expired.code, expired.body["reason"]) == (410, "Expired")
        token = expired.body["metadata"]["continue"]
        assert token not in ("", old) and "use the continue token in this response" in expired.body["message"]

        second = await api.get(f"{TEMPLATES}?limit=40&continue={token}")
        assert second.version != first.version
        assert names(second) == [f"template-{number:04}" for number in range(40, 80)]
        assert second.body["metadata"]["remainingItemCount"] == 400 - 80 - 1
        # From here on the list is consistent again, as of the second page.
        await api.delete(f"{TEMPLATES}/template-0200")
        rest = await api.get(f"{TEMPLATES}?continue={second.body['metadata']['continue']}")
        assert rest.version == second.version and len(rest.body["items"]) == 400 - 80 - 1


async def _store(kind: str, directory: Path) -> Store:
    return MemoryStore() if kind == "memory" else await SqliteStore.open(directory / "store.db")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("query", ["", "&labelSelector=even%3Dtrue"])
async def test_pages_show_one_state_while_others_write(
    certificates: Certificates, tmp_path: Path, kind: str, query: str
) -> None:
    store = await _store(kind, tmp_path)
    async with serving(store, certificates) as api:
        for number in range(40):
            labels = {"even": str(number % 2 == 0).lower()}
            await api.create(CONFIGMAPS, configmap(f"c{number:02}", labels))
        before = await api.get(f"{CONFIGMAPS}?{query.removeprefix('&')}")
        page = await api.get(f"{CONFIGMAPS}?limit=3{query}")
        writing = asyncio.create_task(_disturb(api, random.Random(1)))
        items, token = page.body["items"], page.body["metadata"].get("continue")
        while token:
            page = await api.get(f"{CONFIGMAPS}?limit=3&continue={token}{query}")
            items, token = items + page.body["items"], page.body["metadata"].get("continue")
            await asyncio.sleep(0)
        await writing
        assert page.version == before.version and items == before.body["items"]
        exact = f"{CONFIGMAPS}?resourceVersion={before.version}&resourceVersionMatch=Exact{query}"
        assert (await api.get(exact)).body["items"] == items
        # Named with a limit and no match, a revision is exact as well.
        assert (await api.get(f"{CONFIGMAPS}?resourceVersion={before.version}&limit=500{query}")).body["items"] == items
    await store.close()


async def _disturb(api: Api, chance: random.Random) -> None:
    for step in range(60):
        name = f"c{chance.randint(0, 50):02}"
        labels = {"even": chance.choice(["true", "false"])}
        match chance.choice(["create", "patch", "delete"]):
            case "create":
                await api.create(CONFIGMAPS, configmap(name, labels))
            case "patch":
                await api.patch(f"{CONFIGMAPS}/{name}", {"metadata": {"labels": labels}, "data": {"n": str(step)}})
            case _:
                await api.delete(f"{CONFIGMAPS}/{name}")


async def test_a_revision_of_zero_takes_whatever_there_is_and_no_limit(api: Api) -> None:
    for name in "abc":
        await api.create(CONFIGMAPS, configmap(name))
    assert names(await api.get(f"{CONFIGMAPS}?resourceVersion=0&limit=1")) == ["a", "b", "c"]
    assert (await api.get(f"{CONFIGMAPS}/a?resourceVersion=0")).code == 200


async def test_a_list_not_older_than_a_revision_is_the_present_one_in_pages(api: Api) -> None:
    since = (await api.create(CONFIGMAPS, configmap("a"))).version
    await api.create(CONFIGMAPS, configmap("b"))
    page = await api.get(f"{CONFIGMAPS}?resourceVersion={since}&resourceVersionMatch=NotOlderThan&limit=1")
    assert names(page) == ["a"] and page.body["metadata"]["remainingItemCount"] == 1
    assert int(page.version) > int(since)


async def test_options_that_contradict_each_other_are_refused_in_kubernetes_words(api: Api) -> None:
    for query, path, problem in (
        ("resourceVersionMatch=Exact", "resourceVersionMatch", "forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "resourceVersionMatch", 'forbidden for resourceVersion "0"'),
        ("resourceVersion=1&resourceVersionMatch=Near", "resourceVersionMatch", 'supported values: "Exact"'),
        ("sendInitialEvents=true", "sendInitialEvents", "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "resourceVersionMatch", "unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=1", "resourceVersionMatch", "requires setting resourceVersionMatch"),
        (
            "watch=1&sendInitialEvents=1&resourceVersionMatch=Exact", "resourceVersionMatch",
            'Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
    ):  # fmt: skip
        refused = await api.get(f"{CONFIGMAPS}?{query}")
        causes = refused.body["details"]["causes"]
        assert refused.code == 422 and refused.body["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
        assert any(cause["field"] == path and problem in cause["message"] for cause in causes), (query, causes)


async def test_a_revision_that_is_too_old_or_too_new_is_told_so(certificates: Certificates) -> None:
    store = MemoryStore()
    async with serving(store, certificates, read_wait_seconds=0.05) as api:
        old = (await api.create(PODS, pod("p"))).version
        await api.delete(f"{PODS}/p")
        await store.compact(await store.revision())
        gone = await api.get(f"{PODS}?resourceVersion={old}&resourceVersionMatch=Exact")
        assert (gone.code, gone.body["reason"]) == (410, "Expired")
        assert gone.body["message"] == "The resourceVersion for the provided list is too old."
        for path in (f"{PODS}/p", PODS, f"{PODS}?resourceVersionMatch=Exact", f"{PODS}?watch=1"):
            mark = "&" if "?" in path else "?"
            future = await api.get(f"{path}{mark}resourceVersion=100000")
            assert (future.code, future.body["reason"]) == (504, "Timeout")
            assert future.body["message"].startswith("Timeout: Too large resource version: 100000, current: ")
            assert future.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
            assert future.headers["Retry-After"] == "1"
