"""Nodes: they bring their status along when they register."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind, keep
from kontinuum.api.kubernetes.tables import NONE, age, joined
from kontinuum.api.kubernetes.validation.metadata import check_label_key
from kontinuum.api.kubernetes.validation.scheduling import EFFECTS
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object, labels_of

ROLE_PREFIX, ROLE = "node-role.kubernetes.io/", "kubernetes.io/role"
UNKNOWN = "<unknown>"


class Node(Kind):
    columns = (
        NAME,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE,
        Column("Version", description="Kubelet Version reported by the node."),
        Column("Internal-IP", priority=1, description="The node's address inside the cluster's network."),
        Column("External-IP", priority=1, description="The node's address outside the cluster's network."),
        Column("OS-Image", priority=1, description="OS Image reported by the node from /etc/os-release."),
        Column("Kernel-Version", priority=1, description="Kernel Version reported by the node from 'uname -r'."),
        Column("Container-Runtime", priority=1, description="ContainerRuntime Version reported by the node."),
    )
    selectable = ("spec.unschedulable",)

    def default(self, obj: Object) -> None:
        status = obj.get("status")
        if status and status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])

    def prepare_create(self, obj: Object) -> None:
        """The status stays: a node registers itself in one request."""

    def prepare_status_update(self, obj: Object, old: Object) -> None:
        """The node's labels and annotations may come with its status."""
        keep(obj, old, "spec")

    def validate_spec(self, obj: Object) -> list[FieldError]:
        errors = []
        seen = set()
        for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
            path = f"spec.taints[{index}]"
            errors += _taint(taint, path)
            identity = taint.get("key"), taint.get("effect")
            if identity in seen:
                errors.append(fields.duplicate(path, taint))
            seen.add(identity)
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = self.validate_spec(obj)
        for field in ("podCIDR", "providerID"):
            before = (old.get("spec") or {}).get(field)
            if before and (obj.get("spec") or {}).get(field) != before:
                errors.append(fields.forbidden(f"spec.{field}", "node updates may not change it once it is set"))
        return errors

    def fields(self, obj: Object) -> dict[str, str]:
        return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}

    def cells(self, obj: Object, now: float) -> list[Any]:
        information = (obj.get("status") or {}).get("nodeInfo") or {}
        return [
            obj["metadata"].get("name", ""),
            _readiness(obj),
            joined(_roles(obj)),
            age(obj["metadata"].get("creationTimestamp"), now),
            information.get("kubeletVersion", ""),
            _address(obj, "InternalIP"),
            _address(obj, "ExternalIP"),
            information.get("osImage") or UNKNOWN,
            information.get("kernelVersion") or UNKNOWN,
            information.get("containerRuntimeVersion") or UNKNOWN,
        ]


def _taint(taint: Object, path: str) -> list[FieldError]:
    errors = check_label_key(taint.get("key", ""), f"{path}.key")
    effect = taint.get("effect", "")
    if not effect:
        errors.append(fields.required(f"{path}.effect"))
    elif effect not in EFFECTS:
        errors.append(fields.not_supported(f"{path}.effect", effect, EFFECTS))
    return errors


def _readiness(node: Object) -> str:
    ready = get_condition(node, "Ready")
    words = ["Unknown"] if ready is None else ["Ready" if ready.get("status") == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object) -> list[str]:
    labels = labels_of(node)
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    return sorted(role for role in roles | {labels.get(ROLE, "")} if role)


def _address(node: Object, kind: str) -> str:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((str(one["address"]) for one in addresses if one.get("type") == kind), NONE)
