"""What the API server has acknowledged stays, whatever happens to its process or its disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.machines.conftest import free_port
from tests.machines.platform import KONTINUUM

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli.installation import Installation
from kontinuum.client import kubeconfig
from kontinuum.client.connect import connect
from kontinuum.client.rest import Client
from kontinuum.foundation.errors import Retryable
from kontinuum.foundation.tasks import cancel

pytestmark = pytest.mark.machine
CLIENTS = 16
KILLS = 6


class Server:
    """``kontinuum server`` on a data directory of its own, optionally one that is a small disk of its own."""

    def __init__(self, data_dir: Path, *, disk: str = "") -> None:
        self.data_dir = data_dir
        self._disk = disk
        self._address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(KONTINUUM), "server", "--data-dir", str(self.data_dir), "--listen", self._address]
        if self._disk:
            # In a mount namespace of its own, so that the disk is gone with the process, however it ends.
            mount = f'mount --make-rprivate / && mount -t tmpfs -o size={self._disk} none "$0" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, str(self.data_dir), *command]
        with (self.data_dir.parent / "server.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def exit_code(self, *, seconds: float) -> int:
        """Wait for the process to end by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def files(self) -> Path:
        """The data directory as the server sees it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root/{self.data_dir}")

    async def connect(self) -> Client:
        """A client, as soon as the server answers."""
        async with asyncio.timeout(30):
            while not (self.files / "kubeconfig").exists():
                await asyncio.sleep(0.05)
            client = connect(kubeconfig.load(self.files / "kubeconfig"))
            while True:
                try:
                    await client.list(CONFIGMAPS, namespace="default")
                    return client
                except (Retryable, ApiError):
                    await asyncio.sleep(0.05)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kontinuum-durability-") as name:
        installation = Installation.at(Path(name) / "data")
        installation.data.mkdir()
        yield installation.data
        # Outside the data directory a server on its own leaves two empty directories, as any part of a platform would.
        installation.run.rmdir()
        installation.templates.rmdir()


def config(name: str, data: str = "x") -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {"content": data}}


@dataclass
class Acknowledged:
    """What clients were told: the last revision and content of each object, and every revision ever told."""

    objects: dict[str, tuple[int, str]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    """Objects of which a write was under way when the server was killed, or when the test ended."""
    revisions: list[int] = field(default_factory=list)

    def note(self, answer: Object) -> None:
        revision = int(answer["metadata"]["resourceVersion"])
        self.objects[name_of(answer)] = (revision, answer["data"]["content"])
        self.revisions.append(revision)


async def write_for_ever(client: Client, number: int, acknowledged: Acknowledged) -> None:
    """Create objects, and change every other one."""
    turn = 0
    while True:
        name = f"client-{number}-{turn}"
        turn += 1
        acknowledged.unknown.add(name)
        try:
            made = await client.create(CONFIGMAPS, config(name))
            acknowledged.note(made)
            if turn % 2:
                acknowledged.note(await client.update(CONFIGMAPS, made | {"data": {"content": "changed"}}))
            acknowledged.unknown.discard(name)
        except (Retryable, ApiError):
            await asyncio.sleep(0.05)


async def watch_for_ever(client: Client, seen: list[tuple[int, str, str, str]]) -> None:
    """Revision, type, name and content of every event; a watch that breaks resumes where it was."""
    version = "1"
    while True:
        stream = client.watch(CONFIGMAPS, namespace="default", resource_version=version)
        try:
            async with contextlib.aclosing(stream):
                async for event in stream:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        content = event.object["data"]["content"]
                        seen.append((int(version), event.type, name_of(event.object), content))
        except Retryable:
            await asyncio.sleep(0.05)
        except ApiError as error:
            assert error.code >= 500, error  # 410 would be an event missed


@contextlib.asynccontextmanager
async def busy(client: Client, acknowledged: Acknowledged) -> AsyncIterator[None]:
    """Sixteen clients write during the block."""
    writers = [asyncio.create_task(write_for_ever(client, number, acknowledged)) for number in range(CLIENTS)]
    try:
        yield
    finally:
        broken = [writer for writer in writers if writer.done()]
        await cancel(*writers)
        assert not broken


async def test_killing_the_server_loses_nothing_that_was_acknowledged(directory: Path) -> None:
    chance = random.Random(11)
    acknowledged, seen = Acknowledged(), list[tuple[int, str, str, str]]()
    server = Server(directory)
    server.start()
    client = await server.connect()
    watcher = asyncio.create_task(watch_for_ever(client, seen))
    try:
        async with busy(client, acknowledged):
            for _ in range(KILLS):
                before = len(acknowledged.revisions)
                while len(acknowledged.revisions) < before + 50:  # the clients are at work again
                    await asyncio.sleep(0.01)
                await asyncio.sleep(chance.uniform(0, 0.5))
                server.kill()
                server.start()
                await (await server.connect()).close()
        await must_hold(client, acknowledged, seen, watcher)
    finally:
        await cancel(watcher)
        await client.close()
        server.kill()


async def must_hold(
    client: Client, acknowledged: Acknowledged, seen: list[tuple[int, str, str, str]], watcher: asyncio.Task[None]
) -> None:
    """Every acknowledged write is there; the watch has told each change once, in order; no revision is told twice."""
    assert len(set(acknowledged.revisions)) == len(acknowledged.revisions) > 50 * KILLS
    listed = await client.list(CONFIGMAPS, namespace="default")
    stored = {
        name_of(one): (int(one["metadata"]["resourceVersion"]), one["data"]["content"])
        for one in listed.items
        if name_of(one).startswith("client-")
    }
    for name, wrote in acknowledged.objects.items():
        assert name in stored, f"{name} was acknowledged and is lost"
        assert stored[name] == wrote or (name in acknowledged.unknown and stored[name][1] == "changed")
    assert stored.keys() <= acknowledged.objects.keys() | acknowledged.unknown

    last = await client.create(CONFIGMAPS, config("last"))
    async with asyncio.timeout(30):
        while not seen or seen[-1][0] < int(last["metadata"]["resourceVersion"]):
            assert not watcher.done()
            await asyncio.sleep(0.05)
    # A write that was under way when the clients were stopped may have come after the list.
    seen = [event for event in seen if event[0] <= int(listed.resource_version)]
    revisions = [revision for revision, *_ in seen]
    assert revisions == sorted(set(revisions))
    assert set(acknowledged.revisions) <= set(revisions)
    added = [name for _, kind, name, _ in seen if kind == "ADDED" and name.startswith("client-")]
    assert len(added) == len(set(added)) and set(added) == stored.keys()
    newest = {name: (revision, content) for revision, _, name, content in seen}
    assert {name: newest[name] for name in stored} == stored


async def test_a_full_disk_refuses_writes_clearly_and_nothing_else(directory: Path) -> None:
    server = Server(directory, disk="12m")
    server.start()
    client = await server.connect()
    seen: list[tuple[int, str, str, str]] = []
    watcher = asyncio.create_task(watch_for_ever(client, seen))
    ballast = server.files / "ballast"
    try:
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
            assert name_of(await client.get(CONFIGMAPS, name, namespace="default")) == name
        listed = await client.list(CONFIGMAPS, namespace="default")
        assert sorted(set(map(name_of, listed.items)) - {"kube-root-ca.crt"}) == sorted(names)

        ballast.unlink()
        after = await client.create(CONFIGMAPS, config("after", "x" * 200_000))
        async with asyncio.timeout(10):
            while not seen or seen[-1][2] != "after":
                await asyncio.sleep(0.05)
        assert [name for _, kind, name, _ in seen if kind == "ADDED"] == [*names, "after"]
        assert seen[-1][0] == int(after["metadata"]["resourceVersion"])
    finally:
        await cancel(watcher)
        await client.close()
        server.kill()


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
    said = (directory.parent / "server.log").read_text()
    assert "damaged" in said and "Restore it from a backup" in said
    assert (directory / "store.db").read_bytes() == b"garbage" * 5000
