"""Layers: one file system's changes as a tar (OCI image specification, "Image Layer Filesystem Changeset").

``scan`` looks at a layer from a stranger before anybody unpacks it; ``write`` makes one from a directory.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kontinuum.foundation.errors import Refused
from kontinuum.images.compression import BadCompression, Compressor, decompressed

WHITEOUT = ".wh."
"""``.wh.NAME`` removes NAME of the layers below; ``.wh..wh..opq`` removes all they have in its directory."""
OPAQUE = ".wh..wh..opq"
LARGEST_HEADER = 1 << 20
"""Bytes of one entry's extended header: longer ones are made to fill memories."""
XATTR = "SCHILY.xattr."
KEPT_XATTRS = ("security.capability", "user.")
BLOCK = 1 << 20


class BadLayer(Refused):
    """A layer that must not be unpacked; the message says which entry, and why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a stranger may make us write. Bytes and entries, of one image together."""

    unpacked: int = 64 << 30
    entries: int = 2_000_000


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is in a layer: its uncompressed digest, bytes and number of entries."""

    diff_id: str
    size: int
    entries: int


class CarefulInfo(tarfile.TarInfo):
    """Refuses extended headers that would be read into memory whole."""

    def _proc_member(self, tarfile: Any) -> Any:
        if self.type in (b"x", b"g", b"X", b"L", b"K") and self.size > LARGEST_HEADER:
            raise BadLayer(f"an extended header of {self.size} bytes is longer than the {LARGEST_HEADER} that are read")
        return super()._proc_member(tarfile)  # type: ignore[misc]


def scan(source: BinaryIO, compression: str, limits: Limits) -> Scanned:
    """Read a whole layer. Raises BadLayer for what leads out of the image, is broken, or is more than ``limits``."""
    entries = 0
    try:
        with decompressed(source, compression) as plain:
            counted = _Counted(plain, limits.unpacked)
            with tarfile.open(fileobj=counted, mode="r|", bufsize=BLOCK, tarinfo=CarefulInfo) as archive:
                for member in archive:
                    check_entry(member)
                    entries += 1
                    if entries > limits.entries:
                        raise BadLayer(f"more than {limits.entries} entries")
                    forget(archive)
            counted.drain()
    except (tarfile.TarError, BadCompression, EOFError, OverflowError, UnicodeError) as error:
        raise BadLayer(f"it cannot be read: {error}") from error
    return Scanned(f"sha256:{counted.digest.hexdigest()}", counted.size, entries)


def forget(archive: tarfile.TarFile) -> None:
    """An archive keeps what it has read, for whoever wants to go back; with millions of entries that is too much."""
    archive.members = []  # type: ignore[attr-defined]


def check_entry(member: tarfile.TarInfo) -> None:
    """Raises BadLayer for an entry that leads out of the image."""
    if ".." in member.name.split("/"):
        raise BadLayer(f"the entry {member.name!r} leads out of the image")
    if member.islnk() and ".." in member.linkname.split("/"):
        raise BadLayer(f"the entry {member.name!r} is a link to {member.linkname!r}, which leads out of the image")
    last = member.name.rstrip("/").rpartition("/")[2]
    if last.startswith(WHITEOUT) and last[len(WHITEOUT) :] in ("", ".", ".."):
        raise BadLayer(f"the entry {member.name!r} would remove more than one name")


class _Counted(io.RawIOBase):
    def __init__(self, source: BinaryIO, limit: int) -> None:
        self._source = source
        self._limit = limit
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(BLOCK if size < 0 else size)
        self.size += len(data)
        if self.size > self._limit:
            raise BadLayer(f"it unpacks to more than the {self._limit} bytes that are allowed")
        self.digest.update(data)
        return data

    def drain(self) -> None:
        while self.read(BLOCK):
            pass


# Making layers


def write(root: Path, out: Callable[[bytes], None], compressor: Compressor, *, keep_owners: bool = False) -> str:
    """Hand the compressed layer of everything below ``root`` to ``out``, piece by piece; answers its diff id.

    The same content gives the same bytes: order, times and (unless ``keep_owners``) owners are normalised. Hard links
    within ``root``, modes, devices and the extended attributes that mean something elsewhere are kept; sockets are not.
    Raises BadLayer, OSError.
    """
    sink = _Sink(out, compressor)
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK) as archive:
        for path, name in _walk(root, ""):
            if path.name.startswith(WHITEOUT):
                raise BadLayer(f"{name}: a name that begins with {WHITEOUT} means in a layer that a file is removed")
            _add(archive, path, name, keep_owners=keep_owners)
    sink.finish()
    return f"sha256:{sink.digest.hexdigest()}"


def _walk(directory: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(directory.iterdir(), key=lambda one: os.fsencode(one.name)):
        name = f"{prefix}{path.name}"
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode):
            continue
        yield path, name
        if stat.S_ISDIR(mode):
            yield from _walk(path, f"{name}/")


def _add(archive: tarfile.TarFile, path: Path, name: str, *, keep_owners: bool) -> None:
    member = archive.gettarinfo(path, arcname=name)
    member.uname = member.gname = ""
    # Build times would make every build a new digest.
    member.mtime = 0
    if not keep_owners:
        # Image files belong to root whoever unpacked them.
        member.uid = member.gid = 0
    if not member.issym():
        member.pax_headers = {f"{XATTR}{key}": value for key, value in _xattrs(path)}
    if member.isreg():
        with path.open("rb") as content:
            archive.addfile(member, content)
    else:
        archive.addfile(member)


def _xattrs(path: Path) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:  # a file system without them
        return
    for name in names:
        if name.startswith(KEPT_XATTRS):
            yield name, os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")


class _Sink(io.RawIOBase):
    def __init__(self, out: Callable[[bytes], None], compressor: Compressor) -> None:
        self._out = out
        self._compressor = compressor
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.digest.update(data)
        if packed := self._compressor.compress(bytes(data)):
            self._out(packed)
        return len(data)

    def finish(self) -> None:
        if packed := self._compressor.flush():
            self._out(packed)
