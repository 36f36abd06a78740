"""What the API server does when its disk is full, read-only or damaged, and how it is mended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.history import NAMESPACE, History, config
from tests.servers import Server, data_directory

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError

pytestmark = pytest.mark.machine
CLIENTS = 16


@pytest.fixture
def directory() -> Iterator[Path]:
    with data_directory() as one:
        yield one


async def test_a_full_disk_refuses_writes_clearly_and_nothing_else(directory: Path) -> None:
    server = Server(directory, disk="12m")
    server.start()
    client = await server.connect()
    history, ballast = History(), server.files / "ballast"
    async with contextlib.AsyncExitStack() as cleaning:
        cleaning.callback(server.kill)
        cleaning.push_async_callback(client.close)
        await cleaning.enter_async_context(history.watched([client], 1))
        [seen] = history.seen
        written: list[Object] = []
        await client.create(CONFIGMAPS, config("before"))
        fill(ballast)
        with pytest.raises(ApiError) as refusal:
            while True:
                written.append(await client.create(CONFIGMAPS, config(f"full-{len(written)}", "x" * 200_000)))
        assert refusal.value.code == 507
        assert refusal.value.reason and "space" in refusal.value.message
        answers = await asyncio.gather(
            *(client.create(CONFIGMAPS, config(f"more-{number}", "x" * 200_000)) for number in range(CLIENTS)),
            return_exceptions=True,
        )
        assert {getattr(answer, "code", None) for answer in answers} == {507}

        names = ["before", *map(name_of, written)]
        for name in names:
            assert name_of(await client.get(CONFIGMAPS, name, namespace=NAMESPACE)) == name
        listed = await client.list(CONFIGMAPS, namespace=NAMESPACE)
        assert sorted(set(map(name_of, listed.items)) - {"kube-root-ca.crt"}) == sorted(names)

        ballast.unlink()
        after = await client.create(CONFIGMAPS, config("after", "x" * 200_000))
        async with asyncio.timeout(10):
            while not seen or seen[-1].name != "after":
                await asyncio.sleep(0.05)
        assert [event.name for event in seen if event.type == "ADDED"] == [*names, "after"]
        assert seen[-1].revision == int(after["metadata"]["resourceVersion"])


def fill(ballast: Path) -> None:
    """Write until the disk has no room left."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


async def test_a_damaged_store_is_not_served(directory: Path) -> None:
    server = Server(directory)
    server.start()
    client = await server.connect()
    for number in range(50):
        await client.create(CONFIGMAPS, config(f"c-{number}", "x" * 2000))
    await client.close()
    server.kill()
    for name in ("store.db-wal", "store.db-shm"):
        (directory / name).unlink(missing_ok=True)
    (directory / "store.db").write_bytes(b"garbage" * 5000)
    server.start()
    assert server.exit_code(seconds=30) != 0
    assert "damaged" in server.log and "Restore it from a backup" in server.log
    assert (directory / "store.db").read_bytes() == b"garbage" * 5000
