"""A copy of a file with holes has the same content, and the same holes."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation import sparse

PAGE = 4096
PAGES = st.dictionaries(st.integers(0, 300), st.binary(min_size=1, max_size=PAGE), max_size=6)


def write(path: Path, pages: dict[int, bytes], size: int) -> None:
    with path.open("wb") as file:
        for number, content in pages.items():
            file.seek(number * PAGE)
            file.write(content)
        file.truncate(size)


@given(PAGES, st.integers(0, 301 * PAGE), st.booleans())
def test_a_copy_is_equal_and_takes_no_more(pages: dict[int, bytes], size: int, by_the_kernel: bool) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        if not by_the_kernel:
            patch.setattr(os, "copy_file_range", refuse)
        source, target = Path(directory, "source"), Path(directory, "target")
        write(source, pages, size)
        with source.open("rb", buffering=0) as original, target.open("wb", buffering=0) as copy:
            sparse.copy(original.fileno(), copy.fileno())
        assert target.read_bytes() == source.read_bytes()
        with source.open("rb") as original, target.open("rb") as copy:
            assert list(sparse.pieces(copy.fileno(), size)) == list(sparse.pieces(original.fileno(), size))


def refuse(*_: object) -> int:
    raise OSError(errno.EXDEV, "between file systems")


def copied(directory: Path) -> bytes:
    with (directory / "original").open("w+b") as original, (directory / "copy").open("w+b") as copy:
        original.write(b"data!")
        original.flush()
        sparse.copy(original.fileno(), copy.fileno())
        copy.seek(0)
        return copy.read()


def test_a_file_system_that_copies_nothing_by_itself_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    assert copied(tmp_path) == b"data!"


@pytest.mark.parametrize("by_the_kernel", [0, None])
def test_a_file_that_becomes_shorter_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_the_kernel: int | None
) -> None:
    if by_the_kernel is not None:
        monkeypatch.setattr(os, "copy_file_range", lambda *_: by_the_kernel)
    monkeypatch.setattr(sparse, "pieces", lambda *_: [(0, 9)])
    with pytest.raises(OSError, match="shorter"):
        copied(tmp_path)


def test_a_disk_that_cannot_be_read_is_not_taken_for_a_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "lseek", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        copied(tmp_path)
