"""The disks that containers write to: empty, small, each of its own, and without a name until they are somebody's."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from kontinuum.runtime import layers
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.messages import Mount


@pytest.fixture
async def made(tmp_path: Path) -> Layers:
    found = Layers(tmp_path / "layers")
    await found.prepare()
    return found


async def test_an_empty_layer_takes_hardly_anything_and_is_made_once(made: Layers) -> None:
    before = made.empty.stat()
    await made.prepare()
    assert made.empty.stat().st_ino == before.st_ino
    assert before.st_size == layers.BYTES
    assert before.st_blocks * 512 <= 256 << 10
    assert list(made.empty.parent.iterdir()) == [made.empty]


async def test_machines_that_start_at_once_all_find_it_made(tmp_path: Path) -> None:
    made = Layers(tmp_path / "layers")
    await asyncio.gather(*(made.prepare() for _ in range(3)))
    assert list(made.empty.parent.iterdir()) == [made.empty]


async def test_the_empty_layer_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, written, usual = Layers(tmp_path / "layers"), set(), os.fsync

    def fsync(file: int) -> None:
        written.add((os.fstat(file).st_ino, made.empty.exists()))
        usual(file)

    monkeypatch.setattr(os, "fsync", fsync)
    await made.prepare()
    assert written == {(made.empty.stat().st_ino, False)}


async def test_a_layer_has_no_name_until_it_is_given_one(made: Layers, tmp_path: Path) -> None:
    file = made.copy(made.empty)
    try:
        assert os.fstat(file).st_nlink == 0
        assert list(made.empty.parent.iterdir()) == [made.empty], "whoever dies now leaves nothing"
        place = tmp_path / "upper"
        place.write_text("of a container that did not come to be")
        assert layers.give_name(file, place)
        os.pwrite(file, b"written later", 0)
        with place.open("rb") as named:
            assert named.read(13) == b"written later"
        assert os.fstat(file).st_mode & 0o777 == 0o600
    finally:
        os.close(file)


async def test_what_cannot_be_named_where_it_belongs_is_copied_there(made: Layers) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        place = Path(elsewhere, "upper")
        file = made.copy(made.empty)
        try:
            os.pwrite(file, b"written before", 1 << 30)
            assert layers.give_name(file, place) is (os.fstat(file).st_dev == place.parent.stat().st_dev)
            os.close(layers.copy_to(file, place))
        finally:
            os.close(file)
        with place.open("rb") as named:
            assert os.pread(named.fileno(), 14, 1 << 30) == b"written before"
        assert place.stat().st_blocks * 512 <= 512 << 10


async def test_where_there_are_no_files_without_names_one_has_its_name_taken_away(
    made: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.open

    def old(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise IsADirectoryError(21, "as kernels say that do not know it", str(path))
        return usual(path, flags, mode)

    monkeypatch.setattr(os, "open", old)
    of_one_that_was_killed = made.empty.with_name(f".{os.getpid()}")
    of_one_that_was_killed.touch()
    file = made.copy(made.empty)
    try:
        assert set(made.empty.parent.iterdir()) == {made.empty, of_one_that_was_killed}
        assert not layers.give_name(file, made.empty.with_name("upper"))
    finally:
        os.close(file)


@pytest.mark.parametrize(
    ("mount", "place"),
    [
        (Mount(type="overlay", options=("index=off", "lowerdir=/a:/b", "upperdir=/c/fs", "workdir=/c/w")), "/c/fs"),
        (Mount(type="overlay", options=("lowerdir=/a:/b",)), ""),
        (Mount(type="bind", source="/a", options=("rw", "rbind")), ""),
    ],
)
def test_a_layer_lies_where_containerd_counts_what_a_container_writes(mount: Mount, place: str) -> None:
    assert layers.file_of((mount,)) == (Path(place) / layers.NAME if place else None)
