"""The agent's parsers, and its ways to files of others, compiled for this host under sanitizers, and fed rubbish."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from kontinuum.runtime.guest import protocol

AGENT = Path(protocol.__file__).parent / "agent"
FUZZ = Path(__file__).parent / "agent" / "fuzz.c"
FLAGS = ["-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("fuzz") / "fuzz"
    sources = [FUZZ, *(AGENT / name for name in ("frames.c", "tar.c", "files.c"))]
    subprocess.run(["gcc", *FLAGS, "-I", AGENT, "-o", program, *sources], check=True, capture_output=True)
    return program


def counts(*command: str | Path, stdin: bytes = b"") -> tuple[int, int]:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    first, second = done.stdout.split()
    return int(first), int(second)


def volume() -> bytes:
    """As the shim sends them: files, links, long names, owners beyond what ustar can say."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, target in (
            (".", tarfile.DIRTYPE, ""),
            ("..2026/" + "deep/" * 30, tarfile.DIRTYPE, ""),
            ("..2026/key", tarfile.REGTYPE, ""),
            ("..2026/" + "long" * 50, tarfile.REGTYPE, ""),
            ("..data", tarfile.SYMTYPE, "..2026"),
            ("key", tarfile.SYMTYPE, "..data/key"),
            ("again", tarfile.LNKTYPE, "..2026/key"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.uid, member.gid = os.getuid(), os.getgid()
            member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            member.size = 1500 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"x" * 1500))
    return buffer.getvalue()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_frame_makes_the_agent_read_or_write_where_it_must_not(fuzz: Path, seed: int) -> None:
    frames, values = counts(fuzz, "frames", str(seed), "3000")
    assert frames > 10_000
    assert values > 10_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_archive_makes_the_agent_write_outside_its_place(fuzz: Path, tmp_path: Path, seed: int) -> None:
    place = tmp_path / "parent" / "volume"
    place.mkdir(parents=True)
    (tmp_path / "parent" / "bystander").write_text("untouched")
    unpacked, refused = counts(fuzz, "tar", place, str(seed), "400", stdin=volume())
    assert unpacked > 20
    assert refused > 20
    assert sorted(path.name for path in (tmp_path / "parent").iterdir()) == ["bystander", "volume"]
    assert (tmp_path / "parent" / "bystander").read_text() == "untouched"


def test_an_archive_is_unpacked_as_it_was_packed(fuzz: Path, tmp_path: Path) -> None:
    (tmp_path / "stale").mkdir()
    (tmp_path / "stale" / "file").touch()
    assert counts(fuzz, "tar", tmp_path, "1", "0", stdin=volume()) == (1, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..2026", "..data", "again", "key"]
    assert (tmp_path / "key").read_text() == "x" * 1500
    assert (tmp_path / "again").samefile(tmp_path / "..2026/key")
    assert (tmp_path / "..2026" / ("deep/" * 30)).is_dir()


def test_only_a_regular_file_is_read_of_what_somebody_else_has_made(fuzz: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    assert counts(fuzz, "read", tmp_path / "file") == counts(fuzz, "read", tmp_path / "link") == (7, 0)
    (tmp_path / "long").write_text("x" * 1000)
    assert counts(fuzz, "read", tmp_path / "long") == (63, 0)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "way-out").symlink_to("/proc/self/root/etc/passwd")
    refusals = {"fifo": errno.EINVAL, "way-out": errno.ELOOP, ".": errno.EINVAL, "absent": errno.ENOENT}
    for name, number in refusals.items():
        assert counts(fuzz, "read", tmp_path / name) == (-1, number), name


def test_a_directory_without_a_name_is_not_made(fuzz: Path, tmp_path: Path) -> None:
    assert counts(fuzz, "make", tmp_path / "a/b")[0] == 1
    assert counts(fuzz, "make", "") == (0, errno.ENOENT)
    assert counts(fuzz, "make", "/a" * 2100) == (0, errno.ENAMETOOLONG)
