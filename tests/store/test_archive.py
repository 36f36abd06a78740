"""A backup is whole or is refused; what is read from it is what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.store.archive import ArchiveWriter, NotABackup, Unreadable, read_archive
from kontinuum.store.transfer import Item, Occupied

ITEMS = [Item(f"pods/a/{number}", bytes([number]) * 100) for number in range(20)]


async def write(path: Path, batches: Sequence[Sequence[Item]], *, replace: bool = False) -> None:
    with ArchiveWriter(path, replace=replace, written="2026-01-02T03:04:05Z", writer="test") as writer:
        await writer.begin(revision=42, count=sum(map(len, batches)))
        for batch in batches:
            await writer.add(batch)
        await writer.commit()
    assert writer.size == path.stat().st_size


async def read(path: Path) -> list[Sequence[Item]]:
    with read_archive(path) as archive:
        return [items async for items in archive.items()]


@given(batches=st.lists(st.lists(st.builds(Item, st.text(max_size=20), st.binary(max_size=4000)), max_size=8)))
@settings(deadline=None, max_examples=60)
async def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Item]]) -> None:
    path = tmp_path_factory.mktemp("archive") / "backup"
    await write(path, batches)
    assert await read(path) == batches
    with read_archive(path) as archive:
        assert (archive.revision, archive.count) == (42, sum(map(len, batches)))
        assert (archive.header.written, archive.header.writer) == ("2026-01-02T03:04:05Z", "test")


async def test_large_batches_are_read_too(tmp_path: Path) -> None:
    batches = [[Item("a", bytes(range(256)) * 20_000), Item("b", b"")], [Item("c", b"x" * 3_000_000)]]
    await write(tmp_path / "backup", batches)
    assert await read(tmp_path / "backup") == batches


async def test_only_the_owner_can_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    await write(tmp_path / "backup", [ITEMS])
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_there_is_replaced_only_if_that_is_wished(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_text("precious")
    with pytest.raises(Occupied, match="--force"):
        await write(path, [ITEMS])
    assert path.read_text() == "precious"
    await write(path, [ITEMS], replace=True)
    assert await read(path) == [ITEMS]


async def test_what_is_not_finished_leaves_the_old_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    for before in (None, b"precious"):
        if before is not None:
            path.write_bytes(before)
        with (
            pytest.raises(KeyboardInterrupt),
            ArchiveWriter(path, replace=True, written="", writer="") as writer,
        ):
            await writer.begin(revision=1, count=len(ITEMS))
            await writer.add(ITEMS)
            raise KeyboardInterrupt
        assert [one.read_bytes() for one in tmp_path.iterdir()] == ([] if before is None else [before])


async def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    await write(path, [ITEMS])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(NotABackup), read_archive(path):
            pass
    path.write_bytes(whole + b"\0")
    with pytest.raises(NotABackup, match="checksum"), read_archive(path):
        pass


async def test_a_file_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    await write(path, [ITEMS])
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x20
        path.write_bytes(changed)
        with pytest.raises(NotABackup), read_archive(path):
            pass


async def test_a_format_of_another_version_is_named(tmp_path: Path) -> None:
    body = b"KONTINUUM BACKUP 2\nwhatever comes then"
    (tmp_path / "backup").write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(NotABackup, match=r"format 2; this version reads format 1"), read_archive(tmp_path / "backup"):
        pass


def test_other_files_and_no_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear ...")
    with pytest.raises(NotABackup, match="no backup"), read_archive(tmp_path / "letter"):
        pass
    with pytest.raises(Unreadable, match="No such file"), read_archive(tmp_path / "nothing"):
        pass
    with (
        pytest.raises(Unreadable, match="No such file"),
        ArchiveWriter(tmp_path / "no" / "backup", replace=False, written="", writer=""),
    ):
        pass
