"""The definitions of protobuf messages that Go programs carry: facts of a wire format, read from those who speak it.

Older generators embed a file's descriptor compressed (found by its gzip header), newer ones as it is (found by the
file's name, which comes first in it).
"""

from __future__ import annotations

import contextlib
import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
FILE_NAME = re.compile(rb"\n(.)([\w./-]+\.proto)\x12", re.DOTALL)
"""What an uncompressed one begins with, before the name of its package: a length and so many characters."""
LONGEST = 400_000
"""Bytes of one descriptor, at most."""
SYNTAX = 12
"""The field of a FileDescriptorProto that is written last."""


def embedded(binary: Path) -> Iterator[FileDescriptorProto]:
    """Every descriptor in ``binary``. What only looks like one may be among them: ask for packages by name."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in re.finditer(re.escape(GZIP_HEADER), content):
            with contextlib.suppress(zlib.error, DecodeError):
                raw = zlib.decompressobj(31).decompress(content[found.start() : found.start() + LONGEST])
                yield FileDescriptorProto.FromString(raw)
        for found in FILE_NAME.finditer(content):
            if found[1][0] == len(found[2]):
                with contextlib.suppress(IndexError, DecodeError):
                    yield _uncompressed(content[found.start() : found.start() + LONGEST])


def plain(binary: Path, name: str) -> FileDescriptorProto | None:
    """The descriptor of the file called ``name`` if it is embedded as it is."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"\x0a" + bytes([len(name)]) + name.encode())
        return None if start < 0 else _uncompressed(content[start : start + LONGEST])


def _uncompressed(content: bytes) -> FileDescriptorProto:
    """The descriptor that ``content`` begins with."""
    return FileDescriptorProto.FromString(content[: _end(content)])


def _end(raw: bytes) -> int:
    position = 0
    while True:
        key, position = _varint(raw, position)
        length, position = _varint(raw, position)
        position += length
        if key >> 3 == SYNTAX:
            return position


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
