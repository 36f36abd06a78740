"""What a server does by itself, in virtual time: history, Events, renewed certificates."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.serving import Certificates, make_certificates, serving

from kontinuum.api.kubernetes.resources import CONFIGMAPS, EVENTS
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import housekeeping
from kontinuum.apiserver.app import ApiServer
from kontinuum.apiserver.reading import ListOptions, read_list
from kontinuum.apiserver.selection import Selection
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.foundation import virtual_time
from kontinuum.foundation.addresses import AddressTaken
from kontinuum.foundation.clock import VirtualClock, rfc3339
from kontinuum.foundation.tasks import cancel
from kontinuum.store.memory.store import MemoryStore
from kontinuum.store.port import Compacted


class World:
    """A server's context with its feed running, but no socket."""

    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self.server = ApiServer(self.store, ServerSettings(**settings), self.clock)
        self.context = self.server._context


async def during(seconds: float, world: World, *work: Callable[[], Awaitable[None]]) -> None:
    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(one()) for one in (world.context.feed.run, *work)]
    await asyncio.sleep(seconds)
    failed = [task.exception() for task in tasks if task.done()]
    await cancel(*tasks)
    assert failed == []


def test_a_continue_token_expires_although_nothing_has_changed() -> None:
    async def main() -> None:
        world = World(compaction_seconds=300)
        context, served = world.context, world.context.served[CONFIGMAPS]
        for name in "abc":
            body = served.layout.encode({"metadata": {"name": name, "namespace": "n"}})
            await world.store.create(served.layout.key("n", name), body)
        tasks = [asyncio.ensure_future(context.feed.run())]
        tasks.append(asyncio.ensure_future(housekeeping.compact_history(context)))
        await asyncio.sleep(1)
        page = await read_list(context, served, Selection(), ListOptions(limit=1))
        other = context.served[EVENTS].layout
        await world.store.create(other.key("n", "x"), other.encode({"metadata": {"name": "x", "namespace": "n"}}))
        await asyncio.sleep(300)
        again = await read_list(context, served, Selection(), ListOptions(limit=1, continue_=page.continue_))
        assert len(again.entries) == 1 and again.revision == page.revision
        await asyncio.sleep(300)
        with pytest.raises(ApiError) as caught:
            await read_list(context, served, Selection(), ListOptions(limit=1, continue_=page.continue_))
        assert (caught.value.code, caught.value.reason) == (410, "Expired")
        await cancel(*tasks)

    virtual_time.run(main)


def test_history_is_forgotten_one_period_late() -> None:
    async def main() -> None:
        world = World(compaction_seconds=300)
        for number in range(5):
            await world.store.create(f"/registry/core/configmaps/default/a{number}", b"{}")
        context = world.context
        compacting = asyncio.create_task(housekeeping.compact_history(context))
        await asyncio.sleep(1)
        await world.store.create("/registry/core/configmaps/default/b", b"{}")
        await asyncio.sleep(300)
        # What was history when the period began is gone; what was written in it can still be read.
        assert (await world.store.list("/registry/", revision=5)).revision == 5
        with pytest.raises(Compacted):
            await world.store.list("/registry/", revision=4)
        await cancel(compacting)

    virtual_time.run(main)


def test_an_event_goes_when_it_has_not_been_repeated_for_its_time_to_live() -> None:
    async def main() -> None:
        world = World(event_ttl_seconds=3600)
        layout = world.context.served[EVENTS].layout
        now = world.clock.time()
        ages = {
            "old": (3000, 3000), "young": (3000, 10), "about long ago": (10, 1e9), "about what is to come": (10, -1e6),
            "old, and about that": (3000, -1e6),
        }  # fmt: skip
        for name, (made, seen) in ages.items():
            created = {"name": name, "namespace": "default", "creationTimestamp": rfc3339(now - made)}
            event = {"metadata": created, "lastTimestamp": rfc3339(now - seen)}
            await world.store.create(layout.key("default", name), layout.encode(event))
        await during(1000, world, lambda: housekeeping.expire_events(world.context))
        left = [name for name in ages if await world.store.get(layout.key("default", name)) is not None]
        assert left == ["young", "about long ago", "about what is to come"]

    virtual_time.run(main)


def test_renewed_certificates_are_taken_up_once_they_match(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    certificate.write_bytes(certificates.server.certificate.read_bytes())
    key.write_bytes(certificates.server.key.read_bytes())
    renewed = make_certificates(tmp_path / "renewed").server

    async def main() -> None:
        world = World(certificate=certificate, key=key)
        loaded: list[bytes] = []
        tls = _Recording(loaded, certificate)
        following = asyncio.create_task(housekeeping.follow_certificates(world.context, tls))
        await asyncio.sleep(100)
        assert loaded == []
        certificate.write_bytes(renewed.certificate.read_bytes())
        os.utime(certificate, (1, 1))
        await asyncio.sleep(100)
        assert loaded == []
        key.write_bytes(renewed.key.read_bytes())
        await asyncio.sleep(100)
        assert loaded == [renewed.certificate.read_bytes()]
        await cancel(following)

    virtual_time.run(main)


class _Recording(ssl.SSLContext):
    """Remembers which certificates were loaded into it."""

    def __new__(cls, loaded: list[bytes], certificate: Path) -> _Recording:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, loaded: list[bytes], certificate: Path) -> None:
        self._loaded = loaded
        self._certificate = certificate

    def load_cert_chain(self, *arguments: Any, **more: Any) -> None:
        super().load_cert_chain(*arguments, **more)
        self._loaded.append(self._certificate.read_bytes())


async def test_a_server_whose_address_is_taken_says_which(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressTaken, match=f"{taken}: Address already in use"):
            async with serving(MemoryStore(), certificates, listen=taken):
                raise AssertionError("it serves where another listens")
