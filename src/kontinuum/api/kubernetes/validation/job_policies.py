"""What is wrong with a Job's ``podFailurePolicy``."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import problems
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
MOST_RULES, MOST_VALUES, MOST_PATTERNS = 20, 255, 20


def validate_failure_policy(spec: Object, path: str) -> list[FieldError]:
    """``spec`` of the Job, whose containers the rules may name."""
    rules = spec["podFailurePolicy"].get("rules") or []
    errors = [fields.too_many(f"{path}.rules", len(rules), MOST_RULES)] if len(rules) > MOST_RULES else []
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {one.get("name") for field in ("containers", "initContainers") for one in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        here = f"{path}.rules[{index}]"
        errors += _action(rule.get("action", ""), spec, f"{here}.action")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            errors += _exit_codes(codes, f"{here}.onExitCodes", containers)
        errors += _conditions(conditions, f"{here}.onPodConditions")
        if codes is not None and conditions:
            problem = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(fields.invalid_here(here, problem))
        if codes is None and not conditions:
            problem = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(fields.invalid_here(here, problem))
    return errors


def _action(action: str, spec: Object, path: str) -> list[FieldError]:
    if not action:
        return [fields.required(path, _valid(ACTIONS))]
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        return [fields.invalid(path, action, "requires the backoffLimitPerIndex to be set")]
    return [] if action in ACTIONS else [fields.not_supported(path, action, ACTIONS)]


def _exit_codes(codes: Object, path: str, containers: set[str | None]) -> list[FieldError]:
    operator, values, name = codes.get("operator", ""), codes.get("values") or [], codes.get("containerName")
    errors = []
    if not operator:
        errors.append(fields.required(f"{path}.operator", _valid(OPERATORS)))
    elif operator not in OPERATORS:
        errors.append(fields.not_supported(f"{path}.operator", operator, OPERATORS))
    if name is not None and name not in containers:
        problem = "must be one of the container or initContainer names in the pod template"
        errors.append(fields.invalid(f"{path}.containerName", name, problem))
    return errors + _values(values, operator, f"{path}.values")


def _values(values: Sequence[int], operator: str, path: str) -> list[FieldError]:
    errors = []
    if not values:
        errors.append(fields.invalid(path, values, "at least one value is required"))
    elif len(values) > MOST_VALUES:
        errors.append(fields.too_many(path, len(values), MOST_VALUES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(fields.invalid(f"{path}[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            errors.append(fields.duplicate(f"{path}[{index}]", value))
        seen.add(value)
    if list(values) != sorted(values):
        errors.append(fields.invalid(path, values, "must be ordered"))
    return errors


def _conditions(patterns: Sequence[Object], path: str) -> list[FieldError]:
    errors = [fields.too_many(path, len(patterns), MOST_PATTERNS)] if len(patterns) > MOST_PATTERNS else []
    for index, pattern in enumerate(patterns):
        kind, status = pattern.get("type", ""), pattern.get("status", "")
        errors += problems(kind, names.qualified_name(kind), f"{path}[{index}].type")
        if not status:
            errors.append(fields.required(f"{path}[{index}].status", _valid(STATUSES)))
        elif status not in STATUSES:
            errors.append(fields.not_supported(f"{path}[{index}].status", status, STATUSES))
    return errors


def _valid(values: Sequence[str]) -> str:
    """``valid values: ["a" "b"]``: Go's ``%q`` of a list."""
    return f"valid values: [{' '.join(fields.quoted(one) for one in values)}]"
