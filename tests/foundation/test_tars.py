"""Archives of our own are unpacked by every Python that we run on."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kontinuum.foundation.tars import unpack_trusted


class OfDebian(tarfile.TarFile):
    """As in Python 3.11.2, which knows no filters."""

    extraction_filter = staticmethod(lambda member, _path: member)

    def extractall(  # type: ignore[override]
        self, path: Any = ".", members: Iterable[tarfile.TarInfo] | None = None, *, numeric_owner: bool = False
    ) -> None:
        super().extractall(path, members, numeric_owner=numeric_owner)


def an_archive() -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        file = tarfile.TarInfo("directory/file")
        file.mode, file.size = 0o4750, 7
        archive.addfile(file, io.BytesIO(b"content"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    made.seek(0)
    return made


@pytest.mark.parametrize("kind", [tarfile.TarFile, OfDebian])
def test_an_archive_is_unpacked_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[tarfile.TarFile]
) -> None:
    if kind is OfDebian:
        monkeypatch.delattr(tarfile, "fully_trusted_filter", raising=False)
    with kind.open(fileobj=an_archive()) as archive:
        assert isinstance(archive, kind)
        unpack_trusted(archive, tmp_path)
    file, link = tmp_path / "directory/file", tmp_path / "link"
    assert (file.read_text(), file.stat().st_mode & 0o7777) == ("content", 0o4750)
    assert str(link.readlink()) == "/etc/hostname", "what an archive that nobody trusts may not hold"
