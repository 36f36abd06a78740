"""``x-kubernetes-validations``: CEL rules of a schema, compiled once and asked about every write.

A rule sees the value that it stands beside as ``self``, and with an update as ``oldSelf`` the value that it replaces,
where the schema says which that is: fields, keys of maps, and elements of lists of type ``map``. A rule that uses
``oldSelf`` is a transition rule and is asked only if there is such a value (or ``optionalOldSelf`` says otherwise).
The words, the order and what ends an evaluation are those of apiextensions-apiserver's ``schema/cel/validation.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kontinuum.api.kubernetes.custom import lists
from kontinuum.api.kubernetes.custom.field_paths import BadFieldPath, find_field
from kontinuum.api.kubernetes.custom.schema import Schema
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import (
    Budget,
    BudgetExceeded,
    CompileError,
    CostExceeded,
    Environment,
    EvaluationError,
    EvaluationFailed,
    Program,
    declare,
    optional,
)
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

NOTHING: Any = object()
"""There is no value."""
LONGEST_MESSAGE = 5120
UNTYPED = "failed to convert to declType for CEL validation rules"


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. A ``problem`` says why there is no program."""

    source: Object
    program: Program | None = None
    problem: str = ""
    message: Program | None = None
    message_problem: str = ""
    below: str = ""
    """Where a failure is reported, from the value on."""

    @property
    def is_transition(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.references

    @property
    def text(self) -> str:
        """What a failure of the rule is called."""
        return (self.source.get("message") or "").strip() or str(self.source.get("rule") or "").strip()


@dataclass(slots=True)
class Rules:
    """The rules of one node and of those below it; nodes without any are left out."""

    schema: Schema
    own: list[Rule] = field(default_factory=list)
    properties: dict[str, Rules] = field(default_factory=dict)
    items: Rules | None = None
    additional: Rules | None = None


def compile_rules(schema: Schema, *, is_root: bool = True) -> Rules | None:
    """None if there are no rules."""
    if not schema.has_rules:
        return None
    found = Rules(schema, compile_own(schema, is_root=is_root))
    for name, below in schema.properties.items():
        compiled = compile_rules(below, is_root=below.embedded)
        if compiled is not None:
            found.properties[name] = compiled
    if schema.items is not None:
        found.items = compile_rules(schema.items, is_root=schema.items.embedded)
    if schema.additional is not None:
        found.additional = compile_rules(schema.additional, is_root=schema.additional.embedded)
    return found


def compile_own(schema: Schema, *, is_root: bool) -> list[Rule]:
    """The rules of one node. ``is_root``: it is a whole object, with apiVersion, kind and metadata."""
    sources = schema.source.get("x-kubernetes-validations") or ()
    if not sources:
        return []
    declared = declare(schema.source, "self", is_root=is_root)
    if declared is None:
        return [Rule(source, problem=UNTYPED) for source in sources]
    plain = Environment({"self": declared, "oldSelf": declared})
    optionally = Environment({"self": declared, "oldSelf": optional(declared)})
    return [_compile(one, schema, optionally if one.get("optionalOldSelf") else plain) for one in sources]


def _compile(source: Object, schema: Schema, environment: Environment) -> Rule:
    below = ""
    if source.get("fieldPath"):
        try:
            _, below = find_field(schema, source["fieldPath"])
        except BadFieldPath:
            below = ""
    try:
        program = environment.compile(source.get("rule") or "", t.BOOL)
    except CompileError as error:
        problem = f"compilation failed: {error}" if error.issues else "cel expression must evaluate to a bool"
        return Rule(source, problem=problem, below=below)
    if not source.get("messageExpression"):
        return Rule(source, program, below=below)
    try:
        message = environment.compile(source["messageExpression"], t.STRING)
    except CompileError as error:
        problem = f"compilation failed: {error}" if error.issues else "must evaluate to a string"
        return Rule(source, program, message_problem=f"messageExpression {problem}", below=below)
    return Rule(source, program, message=message, below=below)


def check(obj: Object, old: Object | None, rules: Rules) -> list[FieldError]:
    """The rules that ``obj`` breaks, but for those that it broke already where nothing has changed."""
    return _Evaluation().check(obj, NOTHING if old is None else old, rules)


def check_value(value: Any, schema: Schema) -> list[FieldError]:
    """The rules that a default breaks; it is its own old value."""
    rules = compile_rules(schema, is_root=schema.embedded)
    return _Evaluation().check(value, value, rules, is_ratcheting=False) if rules is not None else []


class _Evaluation:
    """The evaluations for one object, which share a budget."""

    def __init__(self) -> None:
        self._budget = Budget()
        self._errors: list[FieldError] = []
        self._is_over = False
        self._is_ratcheting = True

    def check(self, value: Any, old: Any, rules: Rules, *, is_ratcheting: bool = True) -> list[FieldError]:
        self._is_ratcheting = is_ratcheting
        self._walk(value, old, rules, "")
        return self._errors

    def _walk(self, value: Any, old: Any, rules: Rules, path: str) -> None:
        if value is None or self._is_over:
            return
        if rules.own:
            self._check_own(value, old, rules, path)
        for one, before, below, where in _below(value, old, rules, path):
            self._walk(one, before, below, where)

    def _check_own(self, value: Any, old: Any, rules: Rules, path: str) -> None:
        has_old = old is not NOTHING and old is not None
        values = {"self": value, "oldSelf": old if has_old else None}
        is_unchanged = self._is_ratcheting and has_old and value == old
        for rule in rules.own:
            if self._is_over:
                return
            # What has not changed was accepted before; a transition is judged all the same.
            if is_unchanged and not rule.is_transition:
                continue
            if rule.is_transition and not has_old and not rule.source.get("optionalOldSelf"):
                continue
            self._ask(rule, values, str(rules.schema.source.get("type") or ""), path)

    def _ask(self, rule: Rule, values: Mapping[str, Any], kind: str, path: str) -> None:
        if rule.program is None:
            self._errors.append(fields.invalid(path, kind, f"rule compile error: {rule.problem}"))
            return
        try:
            if rule.program.evaluate(values, self._budget) is not True:
                self._fail(rule, values, kind, path)
        except BudgetExceeded as error:
            self._end(path, kind, str(error))
        except CostExceeded as error:
            text = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
            self._end(path, kind, text + rule.text)
        except EvaluationError as error:
            text = f"{error} evaluating rule: {rule.text}"
            if str(error).startswith("no such overload"):
                text = (f"'{error}': call arguments did not match a supported operator, function or macro signature "
                        f"for rule: {rule.text}")  # fmt: skip
            self._errors.append(fields.invalid(path, kind, text))

    def _fail(self, rule: Rule, values: Mapping[str, Any], kind: str, path: str) -> None:
        where = ".".join(part for part in (path, rule.below) if part)
        message = self._message(rule, values)
        self._errors.append(REASONS.get(rule.source.get("reason") or "", fields.invalid)(where, kind, message))

    def _message(self, rule: Rule, values: Mapping[str, Any]) -> str:
        """What ``messageExpression`` makes, if that is one line of text; raises BudgetExceeded."""
        plain = (rule.source.get("message") or "").strip() or f"failed rule: {rule.text}"
        if rule.message is None:
            return plain
        try:
            made = rule.message.evaluate(values, self._budget)
        except BudgetExceeded:
            raise
        except EvaluationFailed:
            return plain
        made = str(made).strip()
        return made if made and "\n" not in made and len(made) <= LONGEST_MESSAGE else plain

    def _end(self, path: str, kind: str, text: str) -> None:
        self._errors.append(fields.invalid(path, kind, text))
        self._is_over = True


def _below(value: Any, old: Any, rules: Rules, path: str) -> Iterator[tuple[Any, Any, Rules, str]]:
    """(value, old value, rules, path) of everything directly below ``value`` that has rules."""
    schema = rules.schema
    if isinstance(value, dict):
        before = old if isinstance(old, dict) and not schema.is_atomic_map else {}
        for key, one in value.items():
            if key in rules.properties:
                yield one, before.get(key, NOTHING), rules.properties[key], f"{path}.{key}" if path else key
            elif rules.additional is not None and key not in schema.properties:
                yield one, before.get(key, NOTHING), rules.additional, f"{path}[{key}]"
    elif isinstance(value, list) and rules.items is not None:
        known = {}
        if schema.list_type == "map" and isinstance(old, list):
            known = {lists.key_of(one, schema.list_keys): one for one in old}
        for index, one in enumerate(value):
            yield one, known.get(lists.key_of(one, schema.list_keys), NOTHING), rules.items, f"{path}[{index}]"


REASONS: Mapping[str, Callable[[str, Any, str], FieldError]] = {
    "FieldValueForbidden": lambda path, _, message: fields.forbidden(path, message),
    "FieldValueRequired": lambda path, _, message: fields.required(path, message),
    "FieldValueDuplicate": lambda path, kind, _: fields.duplicate(path, kind),
}
