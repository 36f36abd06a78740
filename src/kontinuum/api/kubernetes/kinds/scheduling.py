"""scheduling.k8s.io: PriorityClasses, two of which are the system's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import row
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

SYSTEM_PREFIX = "system-"
SYSTEM: Mapping[str, int] = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
SYSTEM_TEXTS = {
    "system-cluster-critical":
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    "system-node-critical":
        "Used for system critical pods that must not be moved from their current node.",
}  # fmt: skip
HIGHEST = 1_000_000_000
"""The highest value that users may give."""
POLICIES = ("PreemptLowerPriority", "Never")


def system_classes() -> list[Object]:
    """The classes that are there from the beginning, as they would be posted."""
    return [
        {"metadata": {"name": name}, "value": value, "description": SYSTEM_TEXTS[name]}
        for name, value in SYSTEM.items()
    ]


class PriorityClass(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Value", "integer", description="The priority that pods of this class get."),
        Column("Global-Default", "boolean", description="Whether pods get it that name no class."),
        AGE,
        Column("PreemptionPolicy", description="Whether pods of this class may drive others away."),
    )

    def default(self, obj: Object) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
        # Go writes the number even if it is zero.
        obj.setdefault("value", 0)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        name, value = obj["metadata"].get("name") or "", obj["value"]
        errors = []
        if name.startswith(SYSTEM_PREFIX):
            if problem := _system_problem(name, value, is_default=bool(obj.get("globalDefault"))):
                reserved = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only"
                errors.append(fields.forbidden("metadata.name", f"{reserved}. error: {problem}"))
        elif value > HIGHEST:
            problem = f"maximum allowed value of a user defined priority is {HIGHEST}"
            errors.append(fields.forbidden("value", problem))
        if obj["preemptionPolicy"] not in POLICIES:
            errors.append(fields.not_supported("preemptionPolicy", obj["preemptionPolicy"], POLICIES))
        return errors

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        errors = []
        if obj["value"] != old.get("value", 0):
            errors.append(fields.forbidden("value", "may not be changed in an update."))
        policy = obj["preemptionPolicy"]
        if policy != old.get("preemptionPolicy", POLICIES[0]):
            errors.append(fields.invalid("preemptionPolicy", policy, "field is immutable"))
        return errors

    def cells(self, obj: Object, now: float) -> list[Any]:
        cells = row(obj, now, obj.get("value", 0), obj.get("globalDefault", False))
        return [*cells, obj.get("preemptionPolicy", "")]


def _system_problem(name: str, value: int, *, is_default: bool) -> str:
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    if value != SYSTEM[name]:
        return f"value of {name} PriorityClass must be {SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""
