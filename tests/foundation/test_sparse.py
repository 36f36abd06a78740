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
