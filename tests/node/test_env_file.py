"""Variables from files that a pod writes for itself: what is understood, and that nobody is led astray by one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.node.env_file import LARGEST, BadEnvFile, parse, read

NAMES = st.text("ABC_.1", min_size=1)
VALUES = st.text(st.characters(exclude_characters="'\0", codec="utf-8"))


def test_comments_and_empty_lines_say_nothing_and_values_may_have_several_lines() -> None:
    text = "\n# first\n  A='1'  # why\n\nB=''\nC='# not\na comment'\n#D='4'"
    assert parse(text) == {"A": "1", "B": "", "C": "# not\na comment"}
    assert parse("") == {}
    assert parse("A='1'\nA='2'") == {"A": "2"}


@pytest.mark.parametrize(
    "text", ["A=1", 'A="1"', "A= '1'", "A", "='1'", "A='1' B='2'", "A='1", "A='it''s'", "export\nA='1'"]
)
def test_anything_else_is_an_error_that_says_where(text: str) -> None:
    with pytest.raises(BadEnvFile, match=r"line 2 is not of the form NAME='value'"):
        parse(f"GOOD='1'\n{text}")


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read(values: dict[str, str]) -> None:
    assert parse("".join(f"{name}='{value}'\n" for name, value in values.items())) == values


@given(st.text())
def test_no_text_brings_it_down(text: str) -> None:
    with contextlib.suppress(BadEnvFile):
        parse(text)


def test_files_are_read_below_the_volume_and_nowhere_else(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_text("KEY='of the host'")
    (volume / "deep" / "env").write_text("KEY='own'")
    (volume / "link").symlink_to(tmp_path / "secret")
    (volume / "away").symlink_to(tmp_path)
    os.mkfifo(volume / "pipe")
    (volume / "large").write_bytes(b"#" * (LARGEST + 1))
    (volume / "binary").write_bytes(b"A='\xff'")
    assert read(volume, "deep/env") == {"KEY": "own"}
    assert read(volume, "absent") is None
    assert read(volume, "absent/env") is None
    for path in ("link", "away/secret", "pipe", "deep", "large", "binary"):
        with pytest.raises(BadEnvFile, match=path):
            read(volume, path)
