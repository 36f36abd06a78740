"""Label and field selectors: what ``kubectl get -l`` and ``--field-selector`` mean (apimachinery's ``pkg/labels``).

A selector is a conjunction of requirements; the empty selector matches everything. Text that cannot be read raises the
API's 400, because it always comes from a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.status import bad_request

TOKEN = re.compile(r"\s*(==|!=|=|<|>|!|,|\(|\)|[^\s=!<>,()]+)")
NEGATIVE = ("!=", "notin", "!")


@dataclass(frozen=True, slots=True)
class Requirement:
    """``key operator values``. Operators: ``=``, ``!=``, ``in``, ``notin``, ``exists``, ``!``, ``<`` and ``>``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        """An absent key satisfies the negative operators, as in Kubernetes."""
        if self.key not in values:
            return self.operator in NEGATIVE
        have = values[self.key]
        match self.operator:
            case "=" | "in":
                return have in self.values
            case "!=" | "notin":
                return have not in self.values
            case "exists":
                return True
            case "!":
                return False
            case _:
                return _compares(have, self.operator, self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Matches no object at all: what an absent selector object means."""

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        return not self.nothing and all(one.matches(labels or {}) for one in self.requirements)

    @property
    def is_empty(self) -> bool:
        """True if everything matches."""
        return not self.nothing and not self.requirements

    def equalities(self) -> list[tuple[str, str]]:
        """The labels that whoever matches has, each with its value."""
        return [
            (one.key, one.values[0])
            for one in self.requirements
            if one.operator in ("=", "in") and len(one.values) == 1
        ]

    def exact(self, key: str) -> str | None:
        """The one value that ``key`` must have, if the selector says so; lets a caller look in an index."""
        for one in self.requirements:
            if one.key == key and one.operator in ("=", "in") and len(one.values) == 1:
                return one.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.requirements)


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)

FieldSelector = LabelSelector
"""Field selectors have the same shape; they know ``=`` and ``!=`` only, and an absent field reads as ""."""


def parse_labels(text: str) -> LabelSelector:
    """``app=web,tier in (a,b),!canary`` → selector. Raises the API's 400 (BadRequest)."""
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at < len(tokens):
            if tokens[at] != "," or at + 1 == len(tokens):
                raise _unexpected(tokens[at], "',' or 'end of string'")
            at += 1
    return LabelSelector(tuple(sorted(requirements, key=lambda one: one.key)))


def parse_fields(text: str) -> FieldSelector:
    """``status.phase=Running,spec.nodeName!=n1`` → selector. ``\\,``, ``\\=`` and ``\\\\`` stand for themselves."""
    return FieldSelector(tuple(_field_term(term) for term in _split_terms(text) if term))


def from_object(selector: Object | None) -> LabelSelector:
    """A ``metav1.LabelSelector`` object: None matches nothing, ``{}`` everything."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        values = tuple(expression.get("values") or ())
        requirements.append(Requirement(expression["key"], _operator(expression["operator"]), values))
    return LabelSelector(tuple(sorted(requirements, key=lambda one: one.key)))


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """A plain map as Services have it: every label must be equal. None and ``{}`` match nothing, as for Services."""
    if not labels:
        return NOTHING
    return LabelSelector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


def _operator(word: str) -> str:
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}
    if word not in operators:
        raise bad_request(f'"{word}" is not a valid label selector operator')
    return operators[word]


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(text)


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    if tokens[at] == "!":
        return Requirement(_word(tokens, at + 1), "!"), at + 2
    key = _word(tokens, at)
    operator = tokens[at + 1] if at + 1 < len(tokens) else ","
    if operator == ",":
        return Requirement(key, "exists"), at + 1
    if operator in ("in", "notin"):
        values, at = _value_list(tokens, at + 2)
        return Requirement(key, operator, values), at
    if operator in ("=", "==", "!=", "<", ">"):
        return _comparison(tokens, at, "=" if operator == "==" else operator)
    raise _unexpected(operator, "in, notin, =, ==, !=, gt, lt")


def _comparison(tokens: list[str], at: int, operator: str) -> tuple[Requirement, int]:
    """``key = value``; an empty value is legal: ``key=``."""
    key, value_at = tokens[at], at + 2
    if value_at == len(tokens) or tokens[value_at] == ",":
        if operator in "<>":
            raise bad_request(f"for '{operator}' operator, the value must be an integer")
        return Requirement(key, operator, ("",)), value_at
    value = _word(tokens, value_at)
    if operator in "<>" and not re.fullmatch(r"-?\d+", value):
        raise bad_request(f"for '{operator}' operator, the value must be an integer")
    return Requirement(key, operator, (value,)), value_at + 1


def _value_list(tokens: list[str], at: int) -> tuple[tuple[str, ...], int]:
    if at >= len(tokens) or tokens[at] != "(":
        raise _unexpected(tokens[at] if at < len(tokens) else "", "'('")
    values, word = [], ""
    for position in range(at + 1, len(tokens)):
        token = tokens[position]
        if token in (",", ")"):
            values.append(word)
            word = ""
            if token == ")":
                return tuple(sorted(set(values))), position + 1
        elif word or token in ("=", "==", "!=", "(", "<", ">", "!"):
            raise _unexpected(token, "',' or ')'")
        else:
            word = token
    raise _unexpected("", "',' or ')'")


def _word(tokens: list[str], at: int) -> str:
    if at >= len(tokens) or tokens[at] in ("=", "==", "!=", "<", ">", "!", ",", "(", ")"):
        raise _unexpected(tokens[at] if at < len(tokens) else "", "identifier")
    return tokens[at]


def _unexpected(found: str, expected: str) -> Exception:
    return bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")


def _compares(have: str, operator: str, limit: str) -> bool:
    if not re.fullmatch(r"-?\d+", have):
        return False
    return int(have) > int(limit) if operator == ">" else int(have) < int(limit)


def _split_terms(text: str) -> list[str]:
    """Split at commas that no backslash precedes."""
    return re.split(r"(?<!\\),", text)


def _field_term(term: str) -> Requirement:
    match = re.match(r"((?:\\.|[^\\=!])+)(!=|==|=)(.*)$", term, re.DOTALL)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    key, operator, value = match.groups()
    return Requirement(key, "=" if operator == "==" else operator, (re.sub(r"\\(.)", r"\1", value),))
