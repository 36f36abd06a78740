from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontinuum.node.container_mounts import BadMount, below
from kontinuum.node.volumes.atomic import BadPath, write
from kontinuum.node.volumes.context import CannotMount, File, Files, chosen


def seen(directory: Path) -> Files:
    """What a container sees, through the links."""
    found: Files = {}
    for entry in directory.iterdir():
        if entry.name.startswith(".."):
            continue
        files = [entry] if entry.is_file() else [path for path in entry.resolve().rglob("*") if path.is_file()]
        for path in files:
            name = entry.name if path == entry else f"{entry.name}/{path.relative_to(entry.resolve())}"
            found[name] = File(path.read_bytes(), path.stat().st_mode & 0o777)
    return found


FILES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d/e", "d/f", "g/h/i"]),
    st.builds(File, st.binary(max_size=20), st.sampled_from([0o644, 0o400, 0o755])),
)


@settings(deadline=None)
@given(st.lists(FILES, min_size=1, max_size=5))
def test_after_any_series_of_writes_the_last_files_are_there_and_no_others(series: list[Files]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for files in series:
            write(directory, files)
            assert seen(directory) == files
        # One directory of files and the link to it; nothing old is kept.
        assert len([entry for entry in directory.iterdir() if entry.name.startswith("..")]) == 2
        assert not write(directory, series[-1])


def test_an_open_file_keeps_its_content_while_the_volume_changes(tmp_path: Path) -> None:
    write(tmp_path, {"a": File(b"old")})
    with (tmp_path / "a").open("rb") as stream:
        write(tmp_path, {"a": File(b"new")})
        assert stream.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "..data", ""])
def test_a_path_that_leaves_the_volume_is_refused_before_anything_is_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadPath):
        write(tmp_path, {"good": File(b"x"), path: File(b"x")})
    assert not list(tmp_path.iterdir())


def test_named_items_take_their_own_paths_and_modes() -> None:
    source = {"items": [{"key": "k", "path": "deep/k", "mode": 0o600}], "defaultMode": 0o444}
    assert chosen({"k": b"v", "other": b""}, source, what="config", default_mode=0o644) == {"deep/k": File(b"v", 0o600)}


def test_a_named_item_that_is_absent_is_an_error_unless_optional() -> None:
    source = {"items": [{"key": "absent", "path": "p"}]}
    with pytest.raises(CannotMount, match="references non-existent config key: absent"):
        chosen({}, source, what="config", default_mode=0o644)
    assert chosen({}, {**source, "optional": True}, what="config", default_mode=0o644) == {}


def test_a_sub_path_cannot_leave_its_volume_by_dots_or_links(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "out").symlink_to("/etc")
    (volume / "in").symlink_to("real")
    (volume / "real").mkdir()
    for bad in ("../x", "/etc", "out/passwd", "out"):
        with pytest.raises(BadMount):
            below(volume, bad)
    assert below(volume, "in") == volume / "real"
    assert below(volume, "made/here").is_dir()
