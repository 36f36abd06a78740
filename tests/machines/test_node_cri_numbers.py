"""The CRI table against the descriptors that the installed containerd carries (gzipped, as Go programs embed them)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from kontinuum.api.cri.messages import CALLS, file_descriptor, read_table

pytestmark = pytest.mark.machine

GZIP_OF_GO = re.compile(rb"\x1f\x8b\x08\x00\x00\x00\x00\x00")
LARGEST_DESCRIPTOR = 400_000


def embedded(binary: Path) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    content = binary.read_bytes()
    for found in GZIP_OF_GO.finditer(content):
        try:
            raw = zlib.decompressobj(31).decompress(content[found.start() : found.start() + LARGEST_DESCRIPTOR])
            yield descriptor_pb2.FileDescriptorProto.FromString(raw)
        except (zlib.error, DecodeError):
            continue


@pytest.fixture(scope="module")
def installed() -> descriptor_pb2.FileDescriptorProto:
    files = (file for file in embedded(Path("/usr/bin/containerd")) if file.package == "runtime.v1" and file.service)
    return next(files)


def test_every_field_we_name_has_containerds_number_and_type(installed: descriptor_pb2.FileDescriptorProto) -> None:
    theirs = {message.name: {field.name: field for field in message.field} for message in installed.message_type}
    ours = file_descriptor(read_table())
    assert len(ours.message_type) > 50
    for message in ours.message_type:
        for field in message.field:
            other = theirs[message.name][field.name]
            assert (field.number, field.type, field.label) == (other.number, other.type, other.label), message.name
            assert field.type_name.rsplit(".")[-1] == other.type_name.rsplit(".")[-1], field.name


def test_every_enum_value_we_name_has_containerds_number(installed: descriptor_pb2.FileDescriptorProto) -> None:
    enums = [*installed.enum_type, *(enum for message in installed.message_type for enum in message.enum_type)]
    theirs = {(enum.name, value.name): value.number for enum in enums for value in enum.value}
    for enum in file_descriptor(read_table()).enum_type:
        for value in enum.value:
            assert theirs[enum.name, value.name] == value.number


def test_every_call_we_name_is_unary_and_exists(installed: descriptor_pb2.FileDescriptorProto) -> None:
    theirs = {
        f"/runtime.v1.{service.name}/{method.name}"
        for service in installed.service
        for method in service.method
        if not method.server_streaming
    }
    assert {call.path for call in CALLS.values()} <= theirs
