"""The table of etcd's messages against the descriptors that the installed etcd carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from tests.store.etcd import BINARY
from tools import go_descriptors

from kontinuum.foundation.protobuf_table import file_descriptor
from kontinuum.store.etcd.messages import CALLS, PACKAGE, read_table

SCOPED = ("CompareResult", "CompareTarget", "EventType")


@pytest.fixture(scope="module")
def installed() -> list[descriptor_pb2.FileDescriptorProto]:
    return [file for file in go_descriptors.embedded(Path(BINARY)) if file.package in (PACKAGE, "mvccpb")]


def test_every_field_we_name_has_etcds_number_type_and_choice(
    installed: list[descriptor_pb2.FileDescriptorProto],
) -> None:
    theirs = {message.name: message for file in installed for message in file.message_type}
    ours = file_descriptor(PACKAGE, read_table())
    assert len(ours.message_type) > 20
    for message in ours.message_type:
        fields = {field.name: field for field in theirs[message.name].field}
        for field in message.field:
            other = fields[field.name]
            assert (field.number, field.type, field.label) == (other.number, other.type, other.label), field.name
            assert field.type_name.rpartition(".")[2] == other.type_name.rpartition(".")[2], field.name
            assert field.HasField("oneof_index") == other.HasField("oneof_index"), field.name


def test_every_enum_value_we_name_has_etcds_number(installed: list[descriptor_pb2.FileDescriptorProto]) -> None:
    nested = (enum for file in installed for message in file.message_type for enum in message.enum_type)
    theirs = {(enum.name, value.name): value.number for enum in nested for value in enum.value}
    enums = file_descriptor(PACKAGE, read_table()).enum_type
    assert {enum.name for enum in enums} == set(SCOPED)
    for enum in enums:
        for value in enum.value:
            assert theirs[enum.name, value.name] == value.number


def test_every_call_we_name_exists(installed: list[descriptor_pb2.FileDescriptorProto]) -> None:
    theirs = {
        f"/{PACKAGE}.{service.name}/{method.name}"
        for f in installed
        for service in f.service
        for method in service.method
    }
    assert {call.path for call in CALLS.values()} <= theirs
