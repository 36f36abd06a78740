"""What is wrong with ``x-kubernetes-validations`` themselves: their texts, their types, and what they could cost.

The most that a rule can cost is estimated from the schema (maxItems, maxProperties, maxLength) and multiplied by how
often it may run for one object; where nothing is bounded, the size of a request is the bound. Limits and words are
those of apiextensions-apiserver's ``validation.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from kontinuum.api.kubernetes.custom.field_paths import BadFieldPath, find_field
from kontinuum.api.kubernetes.custom.rules import Rule, compile_own
from kontinuum.api.kubernetes.custom.schema import Schema, compile_schema
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import PER_DEFINITION, PER_EXPRESSION, declare
from kontinuum.api.machinery.cel.schemas import LARGEST_REQUEST
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
MOST = 2**64 - 1
NAMED = 4
"""So many of the most expensive rules are named when all of them together cost too much."""
ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


def check_texts(source: Object, path: str) -> list[FieldError]:
    """What is wrong with the rules of one node before anything is compiled."""
    errors = []
    rules = source.get("x-kubernetes-validations") or ()
    schema = compile_schema(source) if rules else None
    for index, rule in enumerate(rules):
        errors += _check_text(rule, f"{path}.x-kubernetes-validations[{index}]", schema)
    return errors


def _check_text(rule: Object, path: str, schema: Schema | None) -> list[FieldError]:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    errors = []
    if not text:
        errors.append(fields.required(f"{path}.rule", "rule is not specified"))
    elif message and not message.strip():
        errors.append(fields.invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif _has_lines(message.strip()):
        errors.append(fields.invalid(f"{path}.message", message, "message must not contain line breaks"))
    elif _has_lines(text) and not message.strip():
        problem = "message must be specified if rule contains line breaks"
        errors.append(fields.required(f"{path}.message", problem))
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        problem = "messageExpression must be non-empty if specified"
        errors.append(fields.required(f"{path}.messageExpression", problem))
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        errors.append(fields.not_supported(f"{path}.reason", rule["reason"], REASONS))
    return errors + _check_field_path(rule.get("fieldPath") or "", f"{path}.fieldPath", schema)


def _check_field_path(text: str, path: str, schema: Schema | None) -> list[FieldError]:
    if not text:
        return []
    errors = []
    if not text.strip():
        errors.append(fields.invalid(path, text, "fieldPath must be non-empty if specified"))
    if _has_lines(text):
        errors.append(fields.invalid(path, text, "fieldPath must not contain line breaks"))
    try:
        find_field(schema or Schema({}), text)
    except BadFieldPath:
        errors.append(fields.invalid(path, text, "fieldPath must be a valid path"))
    return errors


def _has_lines(text: str) -> bool:
    return "\n" in text or "\r" in text


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is, as far as its rules depend on it."""

    path: str
    is_root: bool = False
    times: int | None = 1
    """How often the node can occur in one object; None: nothing bounds it."""
    uncorrelated: str = ""
    """The list or map above, inside of which nobody can tell which old value a new one replaces."""


@dataclass(slots=True)
class _Costs:
    total: int = 0
    rules: list[tuple[int, str]] = field(default_factory=list)

    def add(self, cost: int, path: str) -> None:
        self.total = min(self.total + cost, MOST)
        self.rules.append((cost, path))


def check_programs(schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with the compiled rules of a sound schema, and with what they cost together."""
    costs = _Costs()
    errors = _check_node(schema, _Place(path, is_root=True), costs)
    if costs.total > PER_DEFINITION:
        problem = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        dearest = sorted(costs.rules, key=lambda one: -one[0])[:NAMED]
        errors += [fields.forbidden(where, problem) for _, where in dearest]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(fields.forbidden(path, _too_dear(name, costs.total, PER_DEFINITION)))
    return errors


def _check_node(schema: Schema, place: _Place, costs: _Costs) -> list[FieldError]:
    errors: list[FieldError] = []
    if not schema.has_rules:
        return errors
    rules = compile_own(schema, is_root=place.is_root or schema.embedded)
    if rules:
        times = place.times if place.times is not None else _most_times(schema)
        for index, rule in enumerate(rules):
            where = f"{place.path}.x-kubernetes-validations[{index}]"
            errors += _check_rule(rule, where, times, costs) + _check_transition(rule, where, place)
    inside = replace(place, is_root=False)
    if schema.is_atomic_map:
        inside = replace(inside, uncorrelated=place.uncorrelated or place.path)
    for name, below in schema.properties.items():
        errors += _check_node(below, replace(inside, path=f"{place.path}.properties[{name}]"), costs)
    if schema.additional is not None:
        many = _product(place.times, schema.source.get("maxProperties"))
        values = replace(inside, path=f"{place.path}.additionalProperties", times=many)
        errors += _check_node(schema.additional, values, costs)
    if schema.items is not None:
        if schema.list_type != "map":
            inside = replace(inside, uncorrelated=place.uncorrelated or place.path)
        many = _product(place.times, schema.source.get("maxItems"))
        errors += _check_node(schema.items, replace(inside, path=f"{place.path}.items", times=many), costs)
    return errors


def _check_rule(rule: Rule, path: str, times: int, costs: _Costs) -> list[FieldError]:
    errors = []
    if rule.problem:
        return [fields.invalid(f"{path}.rule", rule.source, rule.problem)]
    programs = (("rule", rule.program, times), ("messageExpression", rule.message, 1))
    for name, program, factor in programs:
        if program is None:
            continue
        cost = min(program.cost.most * factor, MOST)
        if cost > PER_EXPRESSION:
            text = _too_dear(f"estimated {name} cost", cost, PER_EXPRESSION)
            errors.append(fields.forbidden(f"{path}.{name}", text))
        costs.add(cost, f"{path}.{name}")
    if rule.message_problem:
        errors.append(fields.invalid(f"{path}.messageExpression", rule.source, rule.message_problem))
    return errors


def _check_transition(rule: Rule, path: str, place: _Place) -> list[FieldError]:
    if rule.program is None:
        return []
    if rule.is_transition and place.uncorrelated:
        problem = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        return [fields.invalid(f"{path}.rule", rule.source["rule"], problem)]
    if not rule.is_transition and rule.source.get("optionalOldSelf") is not None:
        problem = "may not be set if oldSelf is not used in rule"
        return [fields.invalid(f"{path}.optionalOldSelf", rule.source["optionalOldSelf"], problem)]
    return []


def _product(times: int | None, limit: Any) -> int | None:
    return None if times is None or limit is None else min(times * limit, MOST)


def _most_times(schema: Schema) -> int:
    """As often as the smallest JSON of the node's values fits into a request."""
    declared = declare(schema.source, "self")
    return LARGEST_REQUEST // ((declared.smallest_bytes if declared is not None else 0) + 1)


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    text = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{name} exceeds budget by factor of {text if factor <= 100 else 'more than 100x'} {ADVICE}"
