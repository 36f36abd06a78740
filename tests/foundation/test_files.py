"""A file is the old one or the new one, never something between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kontinuum.foundation import files


@pytest.mark.parametrize("write", [files.write_atomic, files.replace_file])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "secret"
    files.write_atomic(target, "old", mode=0o600)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space left"):
        write(target, "new")  # type: ignore[operator]
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write_atomic(tmp_path / "open", "x", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644


def test_what_is_right_already_is_not_written_again(tmp_path: Path) -> None:
    target = tmp_path / "file"
    assert files.write_if_changed(target, "a", mode=0o600)
    inode = target.stat().st_ino
    assert not files.write_if_changed(target, b"a", mode=0o600)
    assert target.stat().st_ino == inode
    assert files.write_if_changed(target, "a", mode=0o644)
    assert files.write_if_changed(target, "b", mode=0o644)
    assert target.read_text() == "b"


def test_a_directory_gets_its_mode_also_when_it_was_there(tmp_path: Path) -> None:
    made = files.make_directory(tmp_path / "a" / "b", mode=0o755)
    files.make_directory(made, mode=0o700)
    assert made.stat().st_mode & 0o777 == 0o700
