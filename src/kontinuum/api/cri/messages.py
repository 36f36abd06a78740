"""Protobuf classes for the CRI, built at import from the compact table beside this file.

No maintained Python stubs of the CRI exist. ``runtime_v1.txt`` lists the messages that we use, in the form of
``foundation.protobuf_table``. Field numbers are facts of the wire; a test holds every one of them against the
descriptors embedded in the installed containerd.
"""

from __future__ import annotations

from importlib import resources

from google.protobuf import descriptor_pb2

from kontinuum.foundation import protobuf_table

PACKAGE = "runtime.v1"


def file_descriptor(table: str) -> descriptor_pb2.FileDescriptorProto:
    """The table as a protobuf file."""
    return protobuf_table.file_descriptor(PACKAGE, table)


def read_table() -> str:
    return resources.files(__package__).joinpath("runtime_v1.txt").read_text()


_PROTOCOL = protobuf_table.load(PACKAGE, read_table())
MESSAGES, NUMBERS, CALLS = _PROTOCOL.messages, _PROTOCOL.numbers, _PROTOCOL.calls
"""Message classes, enum values and calls by their names in the CRI."""
