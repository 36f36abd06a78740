"""What the API server does when its disk is full, read-only or damaged, and how it is mended."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.history import NAMESPACE, History, config
from tests.lifetimes import BOUND
from tests.servers import KONTINUUM, Server, data_directory

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError
from kontinuum.cli.commands import token as tokens
from kontinuum.cli.exits import Exit
from kontinuum.store.sqlite import SqliteStore

pytestmark = pytest.mark.machine
CLIENTS = 16


def run(*command: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    """What a command said, which must end with one of ``codes``."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in codes, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def directory() -> Iterator[Path]:
    with data_directory() as one:
        yield one


async def test_a_full_disk_refuses_writes_clearly_and_nothing_else(directory: Path) -> None:
    server = Server(directory, disk="-t tmpfs -o size=12m none")
    server.start()
    client = await server.connect()
    assert tokens.running_settings(directory).server.listen == server.address, "a token can be made there"
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


async def test_a_disk_that_turns_read_only_is_read_on_and_what_was_acknowledged_is_there_afterwards(
    directory: Path,
) -> None:
    image = directory.parent / "disk.img"
    run("truncate", "--size=48M", image)
    run("mkfs.ext4", "-q", "-F", image)
    server = Server(directory, disk=f"-o loop {image}")
    server.start()
    client = await server.connect()
    try:
        made = [await client.create(CONFIGMAPS, config(f"c-{number}")) for number in range(20)]
        # What the kernel does to a file system after a write that the disk refused.
        run("nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "mount", "-o", "remount,abort", directory)
        for number in range(3):
            with pytest.raises(ApiError) as refused:
                await client.create(CONFIGMAPS, config(f"lost-{number}"))
            assert refused.value.code == 503
            assert "disk" in refused.value.message or "read-only" in refused.value.message
        assert await client.get(CONFIGMAPS, "c-0", namespace=NAMESPACE) == made[0]
        assert len((await client.list(CONFIGMAPS, namespace=NAMESPACE)).items) >= 20
        backup = directory.parent / "backup"
        inside = ("nsenter", f"--mount=/proc/{server.pid}/ns/mnt")
        saved = run(*inside, KONTINUUM, "backup", backup, "--data-dir", directory)
        assert "objects at revision" in saved
    finally:
        await client.close()
        server.kill()
    run("e2fsck", "-y", "-f", image, codes=(0, 1))
    server.start()
    client = await server.connect()
    try:
        for one in made:
            assert await client.get(CONFIGMAPS, name_of(one), namespace=NAMESPACE) == one
        after = await client.create(CONFIGMAPS, config("after"))
        assert int(after["metadata"]["resourceVersion"]) > int(made[-1]["metadata"]["resourceVersion"])
    finally:
        await client.close()
        server.kill()


def test_a_server_says_in_one_line_that_its_disk_is_read_only(directory: Path) -> None:
    server = Server(directory, disk="-t tmpfs -o ro none")
    server.start()
    assert server.exit_code(seconds=30) == Exit.BROKEN
    assert server.log.count("\n") == 1 and "Read-only file system" in server.log


async def test_a_damaged_store_is_not_served_and_is_restored_as_the_message_says(directory: Path) -> None:
    server = Server(directory)
    server.start()
    client = await server.connect()
    for number in range(50):
        await client.create(CONFIGMAPS, config(f"c-{number}", "x" * 2000))
    backup = directory.parent / "backup"
    run(KONTINUUM, "backup", backup, "--data-dir", directory)
    lost = await client.create(CONFIGMAPS, config("after-the-backup"))
    await client.close()
    server.kill()
    store = directory / "store.db"
    fold(store)
    damaged = bytearray(store.read_bytes())
    damaged[4 * 4096 : 20 * 4096] = b"\xff" * (16 * 4096)
    store.write_bytes(damaged)
    server.start()
    assert server.exit_code(seconds=30) == Exit.BROKEN
    assert "damaged" in server.log and "kontinuum restore FILE --force" in server.log
    assert store.read_bytes() == damaged

    run(KONTINUUM, "restore", backup, "--force", "--data-dir", directory)
    server.start()
    client = await server.connect()
    listed = await client.list(CONFIGMAPS, namespace=NAMESPACE)
    assert {name_of(one) for one in listed.items} >= {f"c-{number}" for number in range(50)}
    assert int(listed.resource_version) > int(lost["metadata"]["resourceVersion"])
    with pytest.raises(ApiError) as gone:
        stream = client.watch(CONFIGMAPS, namespace=NAMESPACE, resource_version=lost["metadata"]["resourceVersion"])
        async for _ in stream:
            pass
    assert gone.value.code == 410
    await client.close()
    server.kill()


def fold(store: Path) -> None:
    """Bring the write-ahead log of a killed server into the file, so that damage to the file is damage to all of it."""
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[list[str]]:
    """A disk of 1 MB at ``directory``, for commands that begin with these words."""
    mount = f'mount -t tmpfs -o size=1m none "{directory}" && echo ready && sleep 600'
    holder = subprocess.Popen([*BOUND, "unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder:
        try:
            assert holder.stdout.readline() == b"ready\n"
            yield ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"]
        finally:
            holder.kill()


async def test_a_backup_and_a_restore_that_find_no_space_leave_everything_as_it_was(directory: Path) -> None:
    store = await SqliteStore.open(directory / "store.db")
    for number in range(30):
        await store.create(f"blobs/{number}", random.Random(number).randbytes(100_000))
    await store.close()
    small = directory / "small"
    small.mkdir()
    run(KONTINUUM, "backup", directory / "backup", "--data-dir", directory)
    with small_disk(small) as inside:
        said = run(*inside, KONTINUUM, "backup", small / "backup", "--data-dir", directory, codes=(Exit.BROKEN,))
        assert said.count("\n") == 1 and "no space left for the backup" in said
        target = f"sqlite://{small}/store.db"
        said = run(*inside, KONTINUUM, "restore", directory / "backup", "--store", target, codes=(Exit.BROKEN,))
        assert said.count("\n") == 1 and "no space left" in said
        assert run(*inside, "ls", "-A", small).split() == ["store.db-lock"]
