"""The definitions of protobuf messages that Go programs carry: facts of a wire format, read from those who speak it.

Older generators embed a file's descriptor compressed (found by its gzip header), newer ones as it is (found by the
file's name, which comes first in it).
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
LONGEST = 400_000
"""Bytes of one descriptor, at most."""
SYNTAX = 12
"""The field of a FileDescriptorProto that is written last."""


def compressed(binary: Path) -> Iterator[FileDescriptorProto]:
    """Every descriptor that is embedded compressed."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in re.finditer(re.escape(GZIP_HEADER), content):
            try:
                raw = zlib.decompressobj(31).decompress(content[found.start() : found.start() + LONGEST])
                yield FileDescriptorProto.FromString(raw)
            except (zlib.error, DecodeError):
                continue


def plain(binary: Path, name: str) -> FileDescriptorProto | None:
    """The descriptor of the file called ``name`` if it is embedded as it is."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"\x0a" + bytes([len(name)]) + name.encode())
        if start < 0:
            return None
        raw = content[start : start + LONGEST]
    return FileDescriptorProto.FromString(raw[: _end(raw)])


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
