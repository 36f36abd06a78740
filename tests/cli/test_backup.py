"""``kontinuum backup``, ``restore`` and ``copy`` as people and scripts use them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.store.etcd import etcd

from kontinuum.cli.exits import Exit
from kontinuum.foundation import process
from kontinuum.store.sqlite import SqliteStore

KONTINUUM = Path(sys.executable).with_name("kontinuum")


async def kontinuum(*words: str | Path) -> process.Completed:
    return await process.run(KONTINUUM, *words, check=False, env={**os.environ, "TERM": "dumb", "COLUMNS": "120"})


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory whose store holds three objects."""
    directory = tmp_path / "data"
    directory.mkdir()
    store = await SqliteStore.open(directory / "store.db")
    for number in range(3):
        await store.create(f"/registry/core/configmaps/default/c{number}", b'{"metadata":{}}')
    await store.close()
    return directory


async def objects(path: Path) -> list[str]:
    store = await SqliteStore.open(path)
    try:
        return [record.key.rpartition("/")[2] for record in (await store.list("")).records]
    finally:
        await store.close()


async def test_a_backup_is_restored_on_a_new_machine(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    made = await kontinuum("backup", backup, "--data-dir", data)
    assert (made.code, made.stderr) == (Exit.OK, b"")
    assert made.text.startswith(f"3 objects at revision 3 are in {backup} (0.0 MB)")
    checked = await kontinuum("restore", "--check", backup)
    assert checked.code == Exit.OK
    assert checked.text.startswith(f"{backup} is whole: 3 objects at revision 3, written 20")
    restored = await kontinuum("restore", backup, "--data-dir", tmp_path / "new")
    assert restored.code == Exit.OK
    assert await objects(tmp_path / "new" / "store.db") == ["c0", "c1", "c2"]


async def test_what_is_there_is_not_overwritten_unless_that_is_said(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert (await kontinuum("backup", backup, "--data-dir", data)).code == Exit.OK
    for words in (("backup", backup, "--data-dir", data), ("restore", backup, "--data-dir", data)):
        refused = await kontinuum(*words)
        assert refused.code == Exit.REFUSED
        assert refused.stderr.decode().count("\n") == 1 and b"--force" in refused.stderr
        assert (await kontinuum(*words, "--force")).code == Exit.OK
    assert await objects(data / "store.db") == await objects(data / "store.db.replaced-1") == ["c0", "c1", "c2"]


async def test_each_thing_that_can_be_wrong_has_its_exit_code_and_one_line(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    await kontinuum("backup", backup, "--data-dir", data)
    (tmp_path / "cut").write_bytes(backup.read_bytes()[:-1])
    (tmp_path / "letter").write_text("Dear ...")
    (tmp_path / "next").write_bytes(backup.read_bytes().replace(b"BACKUP 1\n", b"BACKUP 2\n"))
    running = await SqliteStore.open(data / "store.db")
    expected = [
        (("restore", tmp_path / "cut", "--data-dir", tmp_path / "n"), Exit.REFUSED, "damaged or cut short"),
        (("restore", "--check", tmp_path / "cut"), Exit.REFUSED, "damaged or cut short"),
        (("restore", tmp_path / "letter", "--data-dir", tmp_path / "n"), Exit.REFUSED, "no backup"),
        (("restore", tmp_path / "next", "--data-dir", tmp_path / "n"), Exit.REFUSED, "format 2"),
        (("restore", tmp_path / "none", "--data-dir", tmp_path / "n"), Exit.BROKEN, "No such file"),
        (("restore", backup, "--force", "--data-dir", data), Exit.BROKEN, "another process has it open"),
        (("backup", tmp_path / "b", "--data-dir", tmp_path / "n"), Exit.BROKEN, "no such store"),
        (("backup", tmp_path / "no" / "b", "--data-dir", data), Exit.BROKEN, "No such file"),
        (("backup", tmp_path / "b", "--store", "mysql://x"), Exit.REFUSED, "not a store"),
        (("copy", "--from", f"sqlite://{data}/store.db", "--to", f"sqlite://{tmp_path}/c"), Exit.BROKEN, "has it open"),
    ]
    for words, code, said in expected:
        answer = await kontinuum(*words)
        assert (answer.code, said in answer.stderr.decode()) == (code, True), (words, answer)
        assert answer.stderr.decode().count("\n") == 1
    await running.close()
    assert {one.name for one in tmp_path.iterdir()} == {"backup", "cut", "letter", "next", "data"}


async def test_an_etcd_that_does_not_answer_can_be_tried_again_later(data: Path, tmp_path: Path) -> None:
    (data / "settings.yaml").write_text("store: {patience_seconds: 0.5}\n")
    answer = await kontinuum("backup", tmp_path / "b", "--data-dir", data, "--store", "etcd://127.0.0.1:1")
    assert answer.code == Exit.FAILED
    assert b"cannot be reached" in answer.stderr


async def test_objects_are_copied_to_etcd_with_tls_and_back(data: Path, tmp_path: Path) -> None:
    with etcd(tls=True) as cluster:
        access = cluster.access()
        pair = f"certificate: {access.certificate}, key: {access.key}"
        (tmp_path / "settings.yaml").write_text(f"store: {{certificate_authority: {access.authority}, {pair}}}\n")
        options = ("--config", tmp_path / "settings.yaml", "--data-dir", data)
        there = await kontinuum("copy", "--from", f"sqlite://{data}/store.db", "--to", cluster.address, *options)
        assert (there.code, there.text) == (Exit.OK, f"Copied 3 objects at revision 3 to {cluster.address}.")
        again = await kontinuum("copy", "--from", f"sqlite://{data}/store.db", "--to", cluster.address, *options)
        assert again.code == Exit.REFUSED and b"etcd holds 3 objects" in again.stderr
        back = await kontinuum("copy", "--from", cluster.address, "--to", f"sqlite://{tmp_path}/back.db", *options)
        assert back.code == Exit.OK
        made = await kontinuum("backup", tmp_path / "backup", "--store", cluster.address, *options)
        assert made.code == Exit.OK
    assert await objects(tmp_path / "back.db") == ["c0", "c1", "c2"]
    restored = await kontinuum("restore", tmp_path / "backup", "--store", f"sqlite://{tmp_path}/restored.db")
    assert restored.code == Exit.OK
    assert await objects(tmp_path / "restored.db") == ["c0", "c1", "c2"]


async def test_the_user_of_etcd_is_told_by_settings_and_a_wrong_password_by_its_exit_code(
    data: Path, tmp_path: Path
) -> None:
    with etcd() as cluster:
        cluster.let_in_only("root", password="secret")
        (data / "settings.yaml").write_text(f"store: {{user: root, password_file: {tmp_path}/password}}\n")
        words = ("copy", "--from", f"sqlite://{data}/store.db", "--to", cluster.address, "--data-dir", data)
        (tmp_path / "password").write_text("wrong\n")
        refused = await kontinuum(*words)
        assert refused.code == Exit.BROKEN and b"invalid user ID or password" in refused.stderr
        (tmp_path / "password").write_text("secret\n")
        assert (await kontinuum(*words)).code == Exit.OK
        made = await kontinuum("backup", tmp_path / "backup", "--store", cluster.address, "--data-dir", data)
        assert (made.code, made.text[:9]) == (Exit.OK, "3 objects")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_backup_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    store = await SqliteStore.open(directory / "store.db")
    # Random bytes, so that there is something to compress for a while.
    await asyncio.gather(*(store.create(f"blobs/{one}", os.urandom(1_000_000)) for one in range(150)))
    command = [str(KONTINUUM), "backup", str(tmp_path / "backup"), "--data-dir", str(directory)]
    victim = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        while not (tmp_path / ".backup.partial").exists() or not (tmp_path / ".backup.partial").stat().st_size:
            await asyncio.sleep(0.005)
    victim.send_signal(number)
    _, said = await victim.communicate()
    assert (victim.returncode, said) == (Exit.FAILED, b"kontinuum: interrupted; nothing was changed\n")
    assert [one.name for one in tmp_path.iterdir()] == ["data"]
    assert (await store.create("blobs/after", b"")).revision == 151
    await store.close()
