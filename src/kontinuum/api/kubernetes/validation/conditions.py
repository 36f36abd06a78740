"""What is wrong with ``status.conditions`` of the common type ``meta/v1.Condition`` (``ValidateConditions``)."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

STATUSES = ("False", "True", "Unknown")
LONGEST_REASON, LONGEST_MESSAGE = 1024, 32 * 1024


def validate_conditions(conditions: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    types = [one.get("type", "") for one in conditions]
    for index, condition in enumerate(conditions):
        here = f"{path}[{index}]"
        if types[index] in types[:index]:
            errors.append(fields.duplicate(f"{here}.type", types[index]))
        errors += _condition(condition, here)
    return errors


def _condition(condition: Object, path: str) -> list[FieldError]:
    type_, status, reason = (condition.get(field, "") for field in ("type", "status", "reason"))
    generation = condition.get("observedGeneration", 0)
    errors = check(type_, names.qualified_name(type_), f"{path}.type")
    if status not in STATUSES:
        errors.append(fields.not_supported(f"{path}.status", status, STATUSES))
    if generation < 0:
        problem = "must be greater than or equal to zero"
        errors.append(fields.invalid(f"{path}.observedGeneration", generation, problem))
    if not condition.get("lastTransitionTime"):
        errors.append(fields.required(f"{path}.lastTransitionTime", "must be set"))
    if not reason:
        errors.append(fields.required(f"{path}.reason", "must be set"))
    else:
        errors += check(reason, names.condition_reason(reason), f"{path}.reason")
    if len(reason.encode()) > LONGEST_REASON:
        errors.append(fields.too_long(f"{path}.reason", LONGEST_REASON))
    if len(condition.get("message", "").encode()) > LONGEST_MESSAGE:
        errors.append(fields.too_long(f"{path}.message", LONGEST_MESSAGE))
    return errors
