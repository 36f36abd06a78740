"""A backup: one file that holds everything that was stored at one moment, whichever engine kept it.

    KONTINUUM BACKUP 1                a line: what this is, and the version of its format
    zlib( frame frame frame ... )     each frame: its length (4 bytes), then MessagePack
        Header
        [[key, value], ...]           batches, in the order of keys
    SHA-256 of all bytes before       32 bytes

A backup is read twice, the first time for its checksum alone: nothing is done with one that is not whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from kontinuum.foundation.errors import Broken, Refused
from kontinuum.foundation.files import sync_directory
from kontinuum.store.port import StoreFull
from kontinuum.store.transfer import Item, Occupied

FORMAT = 1
MAGIC = b"KONTINUUM BACKUP "
CHECKSUM_BYTES = 32
PIECE = 1 << 20
LENGTH = struct.Struct(">I")


class NotABackup(Refused):
    """The file is no backup, is damaged, or has a format that this version does not read."""


class Unreadable(Broken):
    """The file, or the directory for it, cannot be opened."""


class Header(msgspec.Struct, frozen=True):
    """What a backup tells about itself."""

    revision: int
    """Of the store, at the moment of the backup."""
    count: int
    written: str
    """When (RFC 3339)."""
    writer: str
    """By which version of Kontinuum."""


class ArchiveReader:
    """A backup as a ``transfer.Source``. Its checksum holds: ``read_archive`` has looked."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.size = _verify(path, file)
        self._frames = self._unpacked()
        self.header = msgspec.msgpack.decode(next(self._frames), type=Header)

    @property
    def revision(self) -> int:
        return self.header.revision

    @property
    def count(self) -> int:
        return self.header.count

    async def items(self) -> AsyncIterator[Sequence[Item]]:
        for frame in self._frames:
            yield msgspec.msgpack.decode(frame, type=list[Item])

    def _unpacked(self) -> Iterator[bytes]:
        self._file.seek(0)
        self._file.readline()
        inflating, data = zlib.decompressobj(), bytearray()
        left = self.size - CHECKSUM_BYTES - self._file.tell()
        while left:
            packed = self._file.read(min(PIECE, left))
            left -= len(packed)
            data += inflating.decompress(packed)
            position = 0
            while len(data) - position >= LENGTH.size:
                (length,) = LENGTH.unpack_from(data, position)
                if len(data) - position - LENGTH.size < length:
                    break
                position += LENGTH.size
                yield bytes(data[position : position + length])
                position += length
            del data[:position]


def _verify(path: Path, file: BinaryIO) -> int:
    """The size of the file, whose checksum holds. Raises NotABackup."""
    first = file.readline(64)
    if not first.startswith(MAGIC):
        raise NotABackup(f"{path}: this is no backup made by `kontinuum backup`")
    version = first.removeprefix(MAGIC).strip().decode(errors="replace")
    if version != str(FORMAT):
        raise NotABackup(
            f"{path}: a backup of format {version}; this version reads format {FORMAT}. Restore it with the version of"
            " Kontinuum that wrote it"
        )
    size = os.fstat(file.fileno()).st_size
    checksum, left = hashlib.sha256(first), size - CHECKSUM_BYTES - len(first)
    while left > 0:
        piece = file.read(min(PIECE, left))
        checksum.update(piece)
        left -= len(piece)
    if left < 0 or file.read() != checksum.digest():
        raise NotABackup(f"{path}: the checksum does not hold: the file is damaged or cut short; use another backup")
    return size


@contextmanager
def read_archive(path: Path) -> Iterator[ArchiveReader]:
    """A backup whose checksum holds. Raises NotABackup, Unreadable."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    with file:
        yield ArchiveReader(path, file)


class ArchiveWriter:
    """A backup in the making, as a ``transfer.Target``: ``with`` it, and what is not committed leaves no file."""

    kept: Path | None = None

    def __init__(self, path: Path, *, replace: bool, written: str, writer: str) -> None:
        self.path = path
        self.size = 0
        self._replace = replace
        self._written = written
        self._writer = writer
        self._partial = path.with_name(f".{path.name}.partial")
        self._deflating = zlib.compressobj(level=1)
        self._checksum = hashlib.sha256()
        self._committed = False
        self._file: BinaryIO

    def __enter__(self) -> ArchiveWriter:
        """Raises Occupied, Unreadable."""
        if self.path.exists() and not self._replace:
            raise Occupied(f"{self.path} exists already; name another file, or replace it with --force")
        try:
            # Secrets are in it.
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unreadable(f"{self.path}: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._committed:
            self._partial.unlink(missing_ok=True)

    async def begin(self, *, revision: int, count: int) -> None:
        self._write(MAGIC + b"%d\n" % FORMAT)
        self._frame(
            msgspec.msgpack.encode(Header(revision=revision, count=count, written=self._written, writer=self._writer))
        )

    async def add(self, items: Sequence[Item]) -> None:
        self._frame(msgspec.msgpack.encode(items))

    async def commit(self) -> None:
        self._write(self._deflating.flush())
        self._write(self._checksum.digest())
        with self._explaining():
            os.fsync(self._file.fileno())
            self._partial.replace(self.path)
            sync_directory(self.path.parent)
        self._committed = True

    def _frame(self, content: bytes) -> None:
        self._write(self._deflating.compress(LENGTH.pack(len(content)) + content))

    def _write(self, content: bytes) -> None:
        self._checksum.update(content)
        self.size += len(content)
        with self._explaining():
            while content:
                content = content[self._file.write(content) :]

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"{self.path}: no space left for the backup ({self.size >> 10} KiB so far); it was removed"
                ) from error
            raise Unreadable(f"{self.path}: {error.strerror}; there is no backup") from error
