"""Protobuf classes for the CRI, built at import from the compact table beside this file.

No maintained Python stubs of the CRI exist. ``runtime_v1.txt`` lists the messages that we use, one field a line
(``number name [repeated] type``; ``map`` is ``map<string, string>``). Field numbers are facts of the wire; a test
holds every one of them against the descriptors embedded in the installed containerd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

PACKAGE = "runtime.v1"

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "int64": Field.TYPE_INT64,
    "uint64": Field.TYPE_UINT64,
    "int32": Field.TYPE_INT32,
    "uint32": Field.TYPE_UINT32,
    "bool": Field.TYPE_BOOL,
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call of the CRI: where it is on the wire, and the classes of its two messages."""

    path: str
    """``/runtime.v1.RuntimeService/RunPodSandbox``."""
    request: type[Message]
    response: type[Message]


def file_descriptor(table: str) -> descriptor_pb2.FileDescriptorProto:
    """The table as a protobuf file."""
    blocks = list(_blocks(table))
    enums = {name for what, name, _ in blocks if what == "enum"}
    file = descriptor_pb2.FileDescriptorProto(name="runtime_v1.proto", package=PACKAGE, syntax="proto3")
    for what, name, lines in blocks:
        if what == "message":
            message = file.message_type.add(name=name)
            for line in lines:
                _add_field(message, line.split(), enums)
        elif what == "enum":
            enum = file.enum_type.add(name=name)
            for line in lines:
                number, value = line.split()
                enum.value.add(name=value, number=int(number))
    return file


def _blocks(table: str) -> Iterator[tuple[str, str, list[str]]]:
    """Each head line ``what name`` with the indented lines below it."""
    what, name, lines = "", "", list[str]()
    for line in table.splitlines():
        if line.startswith(" "):
            lines.append(line)
            continue
        if what:
            yield what, name, lines
        (what, name), lines = line.split(maxsplit=1), []
    yield what, name, lines


def _add_field(message: descriptor_pb2.DescriptorProto, words: list[str], enums: set[str]) -> None:
    number, name, *repeated, kind = words
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if repeated:
        field.label = Field.LABEL_REPEATED
    if kind in SCALARS:
        field.type = SCALARS[kind]
        return
    field.type = Field.TYPE_ENUM if kind in enums else Field.TYPE_MESSAGE
    field.type_name = f".{PACKAGE}.{kind}"
    if kind == "map":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        for index, part in enumerate(("key", "value"), 1):
            entry.field.add(name=part, number=index, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
        field.label = Field.LABEL_REPEATED
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


def read_table() -> str:
    return resources.files(__package__).joinpath("runtime_v1.txt").read_text()


def _load() -> tuple[dict[str, type[Message]], dict[str, int], dict[str, Call]]:
    table = read_table()
    file = file_descriptor(table)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    classes = {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}"))
        for message in file.message_type
    }
    numbers = {value.name: value.number for enum in file.enum_type for value in enum.value}
    calls = {}
    for what, name, _ in _blocks(table):
        if what == "call":
            service, method = name.split()
            path = f"/{PACKAGE}.{service}/{method}"
            calls[method] = Call(path, classes[f"{method}Request"], classes[f"{method}Response"])
    return classes, numbers, calls


MESSAGES, NUMBERS, CALLS = _load()
"""Message classes, enum values and calls by their names in the CRI."""
