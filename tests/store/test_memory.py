"""The memory engine keeps the port's promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kontinuum.store.conformance import StoreSuite, refusing, take
from kontinuum.store.memory import MemoryStore
from kontinuum.store.port import Compacted, Store


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = MemoryStore()
        yield store
        await store.close()


async def test_history_is_bounded() -> None:
    store = MemoryStore(history=10)
    for number in range(30):
        await store.create(f"pods/a/{number}", b"v")
    async with refusing(Compacted):
        await take(store.watch("pods/", after=0), 1)
    assert len(await take(store.watch("pods/", after=20), 10)) == 10
