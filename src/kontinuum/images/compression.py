"""Compressed streams, read and written a piece at a time: nothing is ever whole in memory, whatever it claims to be.

gzip, xz and bzip2 are the standard library's; zstd is the program of that name, which bounds its own memory.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol, cast

from kontinuum.foundation import process
from kontinuum.foundation.errors import Refused

PIECE = 256 << 10
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
GZIP_WINDOW = 31
"""zlib's number for: a gzip header, and the largest window."""
XZ_MEMORY = 128 << 20


class BadCompression(Refused):
    """The stream is not what its header says, or is cut off."""


def kind_of(head: bytes) -> str:
    """How a stream that begins with ``head`` is compressed: gzip, zstd, xz, bzip2, or "" for not at all."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")


@contextmanager
def decompressed(source: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """``source`` without its compression. Reading raises BadCompression, process.ProgramMissing."""
    if kind == "":
        yield source
    elif kind == "zstd":
        with _zstd(source) as reader:
            yield reader
    else:
        make: dict[str, Callable[[], Any]] = {
            "gzip": lambda: _Gzip(),
            "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
            "bzip2": bz2.BZ2Decompressor,
        }
        yield io.BufferedReader(_Members(source, make[kind]), PIECE)


class _Gzip:
    """zlib in the shape of the other two: a bound on what comes out, and what has not been looked at kept inside."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Members(io.RawIOBase):
    """One compressed member after the other, as ``gzip -c a b`` writes them."""

    def __init__(self, source: BinaryIO, make: Callable[[], Any]) -> None:
        self._source = source
        self._make = make
        self._current = make()
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._current.eof:
                rest = self._current.unused_data.lstrip(b"\0") or self._source.read(PIECE).lstrip(b"\0")
                if not rest:
                    return 0
                self._current, self._pending = self._make(), rest
            data, self._pending = self._pending, b""
            if not data and self._current.needs_input:
                data = self._source.read(PIECE)
            try:
                # Without input too: a few bytes can stand for megabytes, which come out as they are asked for.
                out = self._current.decompress(data, len(buffer))
            except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
                raise BadCompression(f"the compressed data is broken: {error}") from error
            if out:
                buffer[: len(out)] = out
                return len(out)
            if not data and not self._current.eof and self._current.needs_input:
                raise BadCompression("the compressed data ends in the middle")


@contextmanager
def _zstd(source: BinaryIO) -> Iterator[BinaryIO]:
    """The program between two pipes: a second thread feeds it, because both ends can be full at once."""
    from_us, to_program = os.pipe2(os.O_CLOEXEC)
    from_program, to_us = os.pipe2(os.O_CLOEXEC)
    try:
        child = process.spawn("zstd", "-dcq", stdin=from_us, stdout=to_us, stderr=to_us)
    except BaseException:
        os.close(to_program)
        os.close(from_program)
        raise
    finally:
        os.close(from_us)
        os.close(to_us)
    failures: list[BaseException] = []

    def feed() -> None:
        with os.fdopen(to_program, "wb", buffering=0) as target, contextlib.suppress(BrokenPipeError):
            try:
                while piece := source.read(PIECE):
                    target.write(piece)
            except BrokenPipeError:
                raise
            except BaseException as error:
                failures.append(error)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        with os.fdopen(from_program, "rb", buffering=PIECE) as reader:
            yield cast(BinaryIO, _Checked(reader, child, failures))
    finally:
        if child.is_running():
            child.signal(9)
        child.wait_in_thread()
        child.close()
        feeder.join()


class _Checked(io.BufferedIOBase):
    """A program's output whose end counts only if the program says that it ended well."""

    def __init__(self, reader: BinaryIO, child: process.Child, failures: list[BaseException]) -> None:
        self._reader = reader
        self._child = child
        self._failures = failures
        self._tail = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._reader.read(-1 if size is None else size)
        self._tail = data[-200:] or self._tail
        if not data and size != 0:
            code = self._child.wait_in_thread()
            if self._failures:
                raise self._failures[0]
            if code:
                words = self._tail.rpartition(b"zstd")[2].decode(errors="replace").strip(" :\n")
                raise BadCompression(f"the compressed data is broken: {words}")
        return data


class Compressor(Protocol):
    """What ``zlib.compressobj`` offers."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Plain:
    """No compression."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def gzip_compressor(level: int = 1) -> Compressor:
    """gzip without file name and time: the same input gives the same bytes."""
    return zlib.compressobj(level, zlib.DEFLATED, GZIP_WINDOW)
