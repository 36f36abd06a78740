"""The CRI table against the descriptors that the installed containerd carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from tools import go_descriptors

from kontinuum.api.cri.messages import CALLS, file_descriptor, read_table

pytestmark = pytest.mark.machine
NEWER = {
    "IDMapping", "UserNamespace", "RuntimeHandler", "RuntimeHandlerFeatures", "RuntimeFeatures", "ContainerUser",
    "LinuxContainerUser", "SupplementalGroupsPolicy",
}  # fmt: skip
NEWER_FIELDS = {
    "uidMappings", "gidMappings", "userns_options", "runtime_handlers", "features", "user", "recursive_read_only",
    "supplemental_groups_policy",
}  # fmt: skip
"""Of containerd 2, which Debian has from 14 on: there they are held too."""


@pytest.fixture(scope="module")
def installed() -> descriptor_pb2.FileDescriptorProto:
    carried = go_descriptors.embedded(Path("/usr/bin/containerd"))
    files = (file for file in carried if file.package == "runtime.v1" and file.service)
    return next(files)


def test_every_field_we_name_has_containerds_number_and_type(installed: descriptor_pb2.FileDescriptorProto) -> None:
    theirs = {message.name: {field.name: field for field in message.field} for message in installed.message_type}
    ours = file_descriptor(read_table())
    assert len(ours.message_type) > 50
    for message in ours.message_type:
        for field in message.field:
            if message.name in NEWER - set(theirs) or field.name in NEWER_FIELDS - set(theirs[message.name]):
                continue
            other = theirs[message.name][field.name]
            assert (field.number, field.type, field.label) == (other.number, other.type, other.label), message.name
            assert field.type_name.rsplit(".")[-1] == other.type_name.rsplit(".")[-1], field.name


def test_every_enum_value_we_name_has_containerds_number(installed: descriptor_pb2.FileDescriptorProto) -> None:
    enums = [*installed.enum_type, *(enum for message in installed.message_type for enum in message.enum_type)]
    theirs = {(enum.name, value.name): value.number for enum in enums for value in enum.value}
    for enum in file_descriptor(read_table()).enum_type:
        for value in enum.value if enum.name not in NEWER - {name for name, _ in theirs} else ():
            assert theirs[enum.name, value.name] == value.number


def test_every_call_we_name_is_unary_and_exists(installed: descriptor_pb2.FileDescriptorProto) -> None:
    theirs = {
        f"/runtime.v1.{service.name}/{method.name}"
        for service in installed.service
        for method in service.method
        if not method.server_streaming
    }
    assert {call.path for call in CALLS.values()} <= theirs
