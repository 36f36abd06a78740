"""flowcontrol.apiserver.k8s.io: which requests wait for which, when there are too many."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.defaults.flowcontrol import default_flow_schema, default_priority_level
from kontinuum.api.kubernetes.flowcontrol import MANDATORY_LEVELS, MANDATORY_SCHEMAS
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, row
from kontinuum.api.kubernetes.validation import flowcontrol as validation
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object


class FlowSchema(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("PriorityLevel", description="The level at which matching requests are served."),
        Column("MatchingPrecedence", description="Which schema decides if several match: the lowest."),
        Column("DistinguisherMethod", description="What makes two requests belong to one flow."),
        AGE,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    )

    def default(self, obj: Object) -> None:
        default_flow_schema(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        name, spec = obj["metadata"].get("name") or "", obj["spec"]
        errors = validation.validate_flow_schema(name, spec)
        if name in MANDATORY_SCHEMAS and spec != MANDATORY_SCHEMAS[name]:
            errors.append(fields.invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
        return errors

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        conditions = (obj.get("status") or {}).get("conditions") or []
        return super().validate_status(obj, old) + validation.validate_conditions(conditions)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        dangling = get_condition(obj, "Dangling")
        cells = row(
            obj,
            now,
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            spec.get("matchingPrecedence", 0),
            (spec.get("distinguisherMethod") or {}).get("type", NONE),
        )
        return [*cells, dangling["status"] if dangling is not None else "?"]


class PriorityLevelConfiguration(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Type", description="Whether the level has a limit."),
        Column("NominalConcurrencyShares", description="The level's part of what the server does at once."),
        Column("Queues", description="How many queues requests wait in."),
        Column("HandSize", description="How many of the queues one flow may use."),
        Column("QueueLengthLimit", description="How many requests wait in one queue."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_priority_level(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        name, spec = obj["metadata"].get("name") or "", obj["spec"]
        errors = validation.validate_priority_level(name, spec)
        fixed = MANDATORY_LEVELS.get(name)
        if fixed is not None and {**spec, "exempt": None} != {**fixed, "exempt": None}:
            rest = " except the spec.exempt field" if name == "exempt" else ""
            errors.append(fields.invalid("spec", spec, f"spec of '{name}'{rest} must equal the fixed value"))
        return errors

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        conditions = (obj.get("status") or {}).get("conditions") or []
        return super().validate_status(obj, old) + validation.validate_conditions(conditions)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        limited = spec.get("limited") or {}
        queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
        return row(
            obj,
            now,
            spec.get("type", ""),
            limited.get("nominalConcurrencyShares", NONE),
            *(queuing.get(field, NONE) for field in ("queues", "handSize", "queueLengthLimit")),
        )
