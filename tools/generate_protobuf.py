"""Write the table of protobuf field numbers that ``kontinuum.api.machinery.protobuf`` decodes request bodies with.

    python -m tools.generate_protobuf build/kubectl/kubectl.1.36

Field numbers are facts of Kubernetes' wire format, and every Go client carries them: they stand in the tags of its
types, beside the names in JSON and whether a zero is left out (``go_types``). What kubectl has no types of (definitions
of custom resources and API services), and the few messages that are written by hand in Go, stand in
``protobuf_additions.txt``, in the table's own form. Of all these, the messages that Kubernetes publishes are written,
one line each; see ``protobuf.py`` for the form. Fields that are not in the table are ignored when a body is decoded.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tools.go_types import BOOL, FLOATS, INTEGERS, MAP, POINTER, SLICE, STRING, STRUCT, GoProgram, GoType, StructField

from kontinuum.api.kubernetes import schema
from kontinuum.api.machinery.protobuf import TABLE

ADDITIONS = Path(__file__).parent / "protobuf_additions.txt"
API, MACHINERY = "k8s.io/api/", "k8s.io/apimachinery/pkg/"
Fields = dict[int, str]
"""Of a message: its fields' names and types (``name:type``), by number."""
SCALARS = {BOOL: "b", STRING: "s", **dict.fromkeys(INTEGERS, "i"), **dict.fromkeys(FLOATS, "d")}
BYTE = 8
PROTOBUF = re.compile(r'protobuf:"\w+,(\d+)(?:,(?:[^"]*,)?name=([^",]*))?')
JSON = re.compile(r'json:"([^",]*)(?:,([^"]*))?"')


def messages_of(program: GoProgram, by_hand: set[str]) -> dict[str, Fields]:
    """The messages of Kubernetes' own types; those in ``by_hand`` are no lists, though Go has them as such."""
    found = {}
    for one in program.structs():
        if one.package.startswith((API, MACHINERY)):
            fields = (field_of(field, one, by_hand) for field in one.fields)
            found[message_of(one)] = dict(filter(None, fields))
    return found


def message_of(one: GoType) -> str:
    """``k8s.io.api.core.v1.Pod``"""
    package = one.package.replace("/", ".").replace("-", "_")
    return f"{package}.{one.name.partition('.')[2]}"


def field_of(field: StructField, owner: GoType, by_hand: set[str]) -> tuple[int, str] | None:
    """The number, and the name and type, of a field that is in the message."""
    wire, json = PROTOBUF.search(field.tag), JSON.search(field.tag)
    if wire is None:
        return None
    named, options = (json[1], json[2] or "") if json else ("", "")
    code = code_of(field.type, by_hand).replace(f">{message_of(owner).rpartition('.')[0]}.", ">.")
    # Go embeds some structs; their fields then stand beside the others in JSON.
    mark = "^" if not named and "inline" in options else "!" if keeps_zero(field.type, options) else ""
    name = named if named not in ("", "-") else wire[2] or f"{field.name[0].lower()}{field.name[1:]}"
    return int(wire[1]), f"{name}:{mark}{code}"


def code_of(one: GoType, by_hand: set[str]) -> str:
    if one.kind == POINTER:
        return code_of(one.element, by_hand)
    if one.kind in SCALARS:
        return SCALARS[one.kind]
    if one.kind == MAP:
        return "{" + code_of(one.element, by_hand)
    if one.kind == SLICE and one.element.kind == BYTE:
        return "y"
    if one.kind == STRUCT or (one.is_named and message_of(one) in by_hand):
        return f">{message_of(one)}"
    return "*" + code_of(one.element, by_hand)


def keeps_zero(one: GoType, options: str) -> bool:
    """Whether zero on the wire means zero rather than nothing: a pointer in Go, or written in JSON whatever it is.

    An empty text never tells more than none does, unless there is a pointer to it.
    """
    if one.kind == POINTER:
        return one.element.kind in SCALARS
    return one.kind in SCALARS and one.kind != STRING and "omit" not in options


def additions() -> dict[str, Fields]:
    """The messages, or further fields of messages, of ``ADDITIONS``."""
    found = {}
    for text in ADDITIONS.read_text().splitlines():
        message, *fields = text.split(" ")
        parts = (field.partition(":") for field in fields)
        found[message] = {int(number): text for number, _, text in parts}
    return found


def definition_name(message: str) -> str:
    """``k8s.io.api.core.v1.Pod`` → ``io.k8s.api.core.v1.Pod``"""
    return message.replace("k8s.io.", "io.k8s.", 1).replace("_", "-")


def wanted(messages: dict[str, Fields], published: dict[str, dict]) -> set[str]:
    """The messages that Kubernetes publishes, those of its machinery, and whatever they refer to."""
    machinery = MACHINERY.replace("/", ".")
    found = {
        name
        for name, fields in messages.items()
        if fields and (definition_name(name) in published or name.startswith(machinery))
    }
    waiting = set(found)
    while waiting:
        name = waiting.pop()
        package = name.rpartition(".")[0]
        codes = (text.partition(">")[2] for text in messages[name].values() if ">" in text)
        waiting |= {package + code if code.startswith(".") else code for code in codes} - found
        found |= waiting
    return found


def main(binary: str) -> None:
    further = additions()
    messages = messages_of(GoProgram(Path(binary)), set(further))
    for message, fields in further.items():
        messages[message] = {**messages.get(message, {}), **fields}
    names = sorted(wanted(messages, schema.json_schemas()))
    lines = [" ".join([name, *(f"{number}:{text}" for number, text in messages[name].items())]) for name in names]
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"{TABLE}: {len(lines)} messages, {TABLE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
