"""A long list comes as it is made, no faster than it is read, and leaves others their turn."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.apiserver.serving import CONFIGMAPS, TABLE, Api, Certificates, configmap, serving

from kontinuum.api.kubernetes.resources import CONFIGMAPS as RESOURCE
from kontinuum.apiserver import tables
from kontinuum.apiserver.registry import Layout
from kontinuum.store.memory.store import MemoryStore

COUNT = 4000


async def _store() -> MemoryStore:
    store, layout = MemoryStore(), Layout(RESOURCE)
    for number in range(COUNT):
        obj = configmap(f"c{number:04}", text="x" * 4000)
        obj["metadata"] |= {"namespace": "default", "uid": str(number), "creationTimestamp": "2026-01-01T00:00:00Z"}
        await store.create(layout.key("default", f"c{number:04}"), layout.encode(obj))
    return store


@pytest.mark.parametrize("form", ["Table", "PartialObjectMetadataList"])
async def test_it_is_made_while_it_is_read(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    made = 0
    original = tables.partial

    def counting(value: bytes, version: str = "v1") -> bytes:
        nonlocal made
        made += 1
        # As long as an object, so that what has been made but not been read is more than sockets hold.
        return original(value, version)[:-1] + b',"text":"' + b"x" * 4000 + b'"}'

    for module in ("tables", "presenting"):
        monkeypatch.setattr(f"kontinuum.apiserver.{module}.partial", counting)
    async with serving(await _store(), certificates) as api:
        headers = {"Accept": f"application/json;as={form};v=v1;g=meta.k8s.io", "Accept-Encoding": "identity"}
        async with api.session.get(api.address + CONFIGMAPS, headers=headers) as response:
            first = await response.content.readany()
            assert first.startswith(b'{"kind":"') and 0 < made < COUNT
            # Others are answered, and nothing more is made for who does not read.
            assert (await api.get(f"{CONFIGMAPS}/c0000")).code == 200
            await _settled(lambda: made)
            assert made < COUNT
            whole = orjson.loads(first + await response.content.read())
        assert len(whole["rows" if form == "Table" else "items"]) == made == COUNT


async def _settled(value: object) -> None:
    """Return when ``value()`` is the same after many turns of the event loop."""
    assert callable(value)
    before = -1
    while before != (before := value()):
        for _ in range(200):
            await asyncio.sleep(0)


async def test_many_are_read_at_once_and_each_is_whole(certificates: Certificates) -> None:
    async with serving(await _store(), certificates) as api:
        answers = await asyncio.gather(*(_names(api, accept) for accept in ("application/json", TABLE) * 3))
    assert all(names == [f"c{number:04}" for number in range(COUNT)] for names in answers)


async def _names(api: Api, accept: str) -> list[str]:
    found = (await api.get(CONFIGMAPS, accept=accept)).body
    items = found["items"] if found["kind"] == "ConfigMapList" else [row["object"] for row in found["rows"]]
    return [item["metadata"]["name"] for item in items]
