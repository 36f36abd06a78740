"""Write the table of protobuf field numbers that ``kontinuum.api.machinery.protobuf`` decodes request bodies with.

    python -m tools.generate_protobuf /usr/bin/kubectl

Field numbers are facts of Kubernetes' wire format. Every kubectl carries them: its Go code embeds the compressed
descriptors of all API groups, which ``go_descriptors`` finds. Of these, the messages that Kubernetes 1.36
still publishes are written, one line each; see ``protobuf.py`` for the form. Run it again with a newer kubectl to learn
newer fields; fields that are not in the table are ignored when a body is decoded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from tools import go_descriptors

from kontinuum.api.kubernetes import schema
from kontinuum.api.machinery.protobuf import TABLE

MACHINERY = "k8s.io.apimachinery."
SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "s", FieldDescriptorProto.TYPE_BYTES: "y", FieldDescriptorProto.TYPE_BOOL: "b",
    FieldDescriptorProto.TYPE_INT32: "i", FieldDescriptorProto.TYPE_INT64: "i", FieldDescriptorProto.TYPE_DOUBLE: "d",
    FieldDescriptorProto.TYPE_UINT32: "i", FieldDescriptorProto.TYPE_UINT64: "i",
}  # fmt: skip


def descriptors(binary: Path) -> Iterator[FileDescriptorProto]:
    """The descriptors of Kubernetes' own files."""
    return (found for found in go_descriptors.compressed(binary) if found.package.startswith("k8s.io."))


def line(package: str, message: DescriptorProto, published: dict[str, dict]) -> str:
    """One message: its name, then ``number:name:type`` for each field."""
    full = f"{package}.{message.name}"
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    known = published.get(definition_name(full), {}).get("properties")
    fields = []
    for field in message.field:
        kind = type_of(field, package, entries)
        # Go embeds some structs; their fields then stand beside the others in JSON ("^").
        # And it names a few fields of messages as Go does; JSON's name then only begins otherwise.
        lowered = field.name[0].lower() + field.name[1:]
        name = lowered if known is not None and lowered in known else field.name
        embedded = known is not None and name not in known and kind[0] in ">."
        fields.append(f"{field.number}:{name}:{'^' if embedded else ''}{kind}")
    return " ".join([full, *fields])


def type_of(field: FieldDescriptorProto, package: str, entries: dict[str, DescriptorProto]) -> str:
    if field.type in SCALARS:
        kind = SCALARS[field.type]
    else:
        name = field.type_name.removeprefix(".")
        entry = entries.get(name.rpartition(".")[2])
        if entry is not None:
            return "{" + type_of(entry.field[1], package, {})
        kind = ">" + name.removeprefix(package) if name.startswith(f"{package}.") else ">" + name
    return "*" + kind if field.label == FieldDescriptorProto.LABEL_REPEATED else kind


def definition_name(message: str) -> str:
    """``k8s.io.api.core.v1.Pod`` → ``io.k8s.api.core.v1.Pod``"""
    return message.replace("k8s.io.", "io.k8s.", 1)


def wanted(lines: dict[str, str], published: dict[str, dict]) -> set[str]:
    """The messages that Kubernetes still publishes, those of its machinery, and whatever they refer to."""
    found = {name for name in lines if definition_name(name) in published or name.startswith(MACHINERY)}
    waiting = set(found)
    while waiting:
        name = waiting.pop()
        package = name.rpartition(".")[0]
        targets = re.findall(r">(\S+)", lines[name])
        below = {package + target if target.startswith(".") else target for target in targets}
        waiting |= (below - found) & lines.keys()
        found |= waiting
    return found


def main(binary: str) -> None:
    published = schema.json_schemas()
    lines = {
        f"{descriptor.package}.{message.name}": line(descriptor.package, message, published)
        for descriptor in descriptors(Path(binary))
        for message in descriptor.message_type
    }
    kept = sorted(lines[name] for name in wanted(lines, published))
    TABLE.write_text("\n".join(kept) + "\n")
    print(f"{TABLE}: {len(kept)} messages, {TABLE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
