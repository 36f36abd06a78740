"""Protobuf classes without generated code: made at import from a compact table of names, numbers and types.

    message Mount                       one message a block, one field a line: number, name, [repeated] type
      1 container_path string           ``map`` is ``map<string, string>``; ``choice NAME`` before a type puts the
      3 readonly bool                   field into a oneof
    enum State
      0 READY
    call Service Method [Request Response]
    call other.package.Service Method [Request Response]     known as ``Service.Method``

Field numbers are facts of a wire; whoever keeps a table keeps a test beside it that holds the facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

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
    """One call: where it is on the wire, and the classes of its two messages."""

    path: str
    """``/runtime.v1.RuntimeService/RunPodSandbox``."""
    request: type[Message]
    response: type[Message]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a table describes, by the names in it."""

    messages: dict[str, type[Message]]
    numbers: dict[str, int]
    """The values of all enums."""
    calls: dict[str, Call]


def load(package: str, table: str) -> Protocol:
    """The classes of ``table``, in a pool of their own."""
    file = file_descriptor(package, table)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    classes = {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    }
    numbers = {value.name: value.number for enum in file.enum_type for value in enum.value}
    calls = {}
    for what, name, _ in _blocks(table):
        if what == "call":
            service, method, *names = name.split()
            request, response = names or (f"{method}Request", f"{method}Response")
            elsewhere = "." in service
            path = f"/{service}/{method}" if elsewhere else f"/{package}.{service}/{method}"
            known_as = f"{service.rpartition('.')[2]}.{method}" if elsewhere else method
            calls[known_as] = Call(path, classes[request], classes[response])
    return Protocol(classes, numbers, calls)


def file_descriptor(package: str, table: str) -> descriptor_pb2.FileDescriptorProto:
    """The table as a protobuf file."""
    blocks = list(_blocks(table))
    enums = {name for what, name, _ in blocks if what == "enum"}
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for what, name, lines in blocks:
        if what == "message":
            message = file.message_type.add(name=name)
            for line in lines:
                _add_field(package, message, line.split(), enums)
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


def _add_field(package: str, message: descriptor_pb2.DescriptorProto, words: list[str], enums: set[str]) -> None:
    number, name, *qualifiers, kind = words
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if "repeated" in qualifiers:
        field.label = Field.LABEL_REPEATED
    if "choice" in qualifiers:
        choice = qualifiers[-1]
        known = [one.name for one in message.oneof_decl]
        if choice not in known:
            message.oneof_decl.add(name=choice)
            known.append(choice)
        field.oneof_index = known.index(choice)
    if kind in SCALARS:
        field.type = SCALARS[kind]
        return
    field.type = Field.TYPE_ENUM if kind in enums else Field.TYPE_MESSAGE
    field.type_name = f".{package}.{kind}"
    if kind == "map":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        for index, part in enumerate(("key", "value"), 1):
            entry.field.add(name=part, number=index, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
        field.label = Field.LABEL_REPEATED
        field.type_name = f".{package}.{message.name}.{entry.name}"
