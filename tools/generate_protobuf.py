"""Write the table of protobuf field numbers that ``kontinuum.api.machinery.protobuf`` decodes request bodies with.

    python -m tools.generate_protobuf /usr/bin/kubectl

Field numbers are facts of Kubernetes' wire format. Every kubectl up to 1.34 carries them: its Go code embeds the
compressed descriptors of all API groups, which ``go_descriptors`` finds. What no kubectl carries (definitions of custom
resources and API services) and what is newer stands in ``protobuf_additions.txt``, in the table's own form but with the
names of the ``generated.proto`` files. Of all these, the messages that Kubernetes 1.36 still publishes are written, one
line each; see ``protobuf.py`` for the form. A version that has been promoted since has its messages from the version
before it: promotion keeps the numbers. Fields that are not in the table are ignored when a body is decoded.
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

ADDITIONS = Path(__file__).parent / "protobuf_additions.txt"
MACHINERY = "k8s.io.apimachinery."
VERSIONS_BEFORE = {"v1": ("v1beta2", "v1beta1", "v1alpha1"), "v1beta2": ("v1beta1",), "v1beta1": ("v1alpha1",)}
Fields = dict[int, tuple[str, str]]
"""Of a message: its fields' names and types, by number."""
SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "s", FieldDescriptorProto.TYPE_BYTES: "y", FieldDescriptorProto.TYPE_BOOL: "b",
    FieldDescriptorProto.TYPE_INT32: "i", FieldDescriptorProto.TYPE_INT64: "i", FieldDescriptorProto.TYPE_DOUBLE: "d",
    FieldDescriptorProto.TYPE_UINT32: "i", FieldDescriptorProto.TYPE_UINT64: "i",
}  # fmt: skip
POINTERS = frozenset({
    "replicas", "terminationGracePeriodSeconds", "runAsUser", "runAsGroup", "fsGroup", "activeDeadlineSeconds",
    "backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes", "completions", "parallelism", "succeededCount",
    "ttlSecondsAfterFinished", "revisionHistoryLimit", "progressDeadlineSeconds", "defaultMode", "mode",
    "tolerationSeconds", "priority", "gracePeriodSeconds", "deletionGracePeriodSeconds", "expirationSeconds",
    "leaseDurationSeconds", "leaseTransitions", "minReplicas", "suspend", "manualSelector",
    "successfulJobsHistoryLimit", "failedJobsHistoryLimit", "startingDeadlineSeconds", "minDomains",
    "automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation", "runAsNonRoot", "privileged",
    "readOnlyRootFilesystem", "immutable", "optional", "hostUsers", "shareProcessNamespace", "setHostnameAsFQDN",
    "hostProcess", "controller", "blockOwnerDeletion", "orphanDependents", "remainingItemCount",
    "allocateLoadBalancerNodePorts", "ready", "serving", "terminating", "started", "terminatingReplicas",
    "collisionCount", "partition", "lun", "averageUtilization", "stabilizationWindowSeconds",
    "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage", "nominalConcurrencyShares",
    "lendablePercent", "borrowingLimitPercent", "allowVolumeExpansion", "attachRequired", "podInfoOnMount",
    "requiresRepublish", "storageCapacity", "seLinuxMount", "storageClassName", "ingressClassName", "endPort",
    "int", "bool", "allNodes", "perDeviceNodeSelection", "adminAccess", "bindsToNode", "allowMultipleAllocations",
    "maximum", "minimum", "multipleOf", "maxLength", "minLength", "maxItems", "minItems", "maxProperties",
    "minProperties", "optionalOldSelf",
    "ClientIPConfig.timeoutSeconds", "MutatingWebhook.timeoutSeconds", "ValidatingWebhook.timeoutSeconds",
})  # fmt: skip
"""Fields whose Go type is a pointer, by name (which mostly means the same in every kind that has it) or by message."""


def descriptors(binary: Path) -> Iterator[FileDescriptorProto]:
    """The descriptors of Kubernetes' own files."""
    return (found for found in go_descriptors.compressed(binary) if found.package.startswith("k8s.io."))


def fields_of(package: str, message: DescriptorProto) -> Fields:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    return {field.number: (field.name, type_of(field, package, entries)) for field in message.field}


def additions() -> Iterator[tuple[str, Fields]]:
    """The messages, or further fields of messages, of ``ADDITIONS``."""
    for text in ADDITIONS.read_text().splitlines():
        message, *fields = text.split(" ")
        parts = (field.split(":") for field in fields)
        yield message, {int(number): (name, kind) for number, name, kind in parts}


def promote(messages: dict[str, Fields], published: dict[str, dict]) -> None:
    """Give each message that is missing the fields that it had in another version of its group.

    Missing are those that are published, and those that others refer to.
    """
    have = {definition_name(message) for message in messages}
    waiting = {definition.replace("io.k8s.", "k8s.io.", 1) for definition in published.keys() - have}
    while waiting:
        message = waiting.pop()
        group, version, name = message.rsplit(".", 2)
        before = (f"{group}.{older}.{name}" for older in VERSIONS_BEFORE.get(version, ()))
        found = next((messages[older] for older in before if older in messages), None)
        if found is not None and message not in messages:
            messages[message] = found
            waiting |= targets(message, found) - messages.keys()


def targets(message: str, fields: Fields) -> set[str]:
    """The messages that a message refers to."""
    package = message.rpartition(".")[0]
    found = [kind.partition(">")[2] for _, kind in fields.values() if ">" in kind]
    return {package + target if target.startswith(".") else target for target in found}


def line(message: str, fields: Fields, published: dict[str, dict]) -> str:
    """One message: its name, then ``number:name:type`` for each field."""
    definition = published.get(definition_name(message), {})
    known = {plain(name): name for name in definition.get("properties", {})}
    parts = [message]
    for number, (field, kind) in fields.items():
        # Go names a few fields otherwise than JSON does ($ref, x-kubernetes-..., uid).
        name = known.get(plain(field), field)
        # And it embeds some structs; their fields then stand beside the others in JSON ("^").
        embedded = bool(known) and plain(field) not in known and kind[0] in ">."
        keeps_zero = kind[0] in "sibd" and is_zero_kept(message, name, kind, definition)
        parts.append(f"{number}:{name}:{'^' if embedded else ''}{'!' if keeps_zero else ''}{kind}")
    return " ".join(parts)


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_zero_kept(message: str, name: str, kind: str, definition: dict) -> bool:
    """Whether zero on the wire means zero rather than nothing: the field is required, or a pointer in Go."""
    required = name in definition.get("required", ()) and kind != "s"
    return required or name in POINTERS or f"{message.rpartition('.')[2]}.{name}" in POINTERS


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
    return message.replace("k8s.io.", "io.k8s.", 1).replace("_", "-")


def wanted(messages: dict[str, Fields], published: dict[str, dict]) -> set[str]:
    """The messages that Kubernetes still publishes, those of its machinery, and whatever they refer to."""
    found = {name for name in messages if definition_name(name) in published or name.startswith(MACHINERY)}
    waiting = set(found)
    while waiting:
        name = waiting.pop()
        waiting |= (targets(name, messages[name]) - found) & messages.keys()
        found |= waiting
    return found


def main(binary: str) -> None:
    published = schema.json_schemas()
    messages: dict[str, Fields] = {
        f"{descriptor.package}.{message.name}": fields_of(descriptor.package, message)
        for descriptor in descriptors(Path(binary))
        for message in descriptor.message_type
    }
    promote(messages, published)
    for message, fields in additions():
        messages[message] = {**messages.get(message, {}), **fields}
    lines = [line(message, messages[message], published) for message in sorted(wanted(messages, published))]
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"{TABLE}: {len(lines)} messages, {TABLE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
