"""Kubernetes' list functions: ``isSorted sum min max indexOf lastIndexOf``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.library.comparisons import compare_values
from kontinuum.api.machinery.cel.overloads import Overload, member
from kontinuum.api.machinery.cel.times import duration
from kontinuum.api.machinery.cel.values import LARGEST, LARGEST_UNSIGNED, SMALLEST, Duration, Unsigned, equals

SUMMED = (t.INT, t.UINT, t.DOUBLE, t.DURATION)
ORDERED = (*SUMMED, t.BOOL, t.STRING, t.TIMESTAMP, t.BYTES)


def _is_sorted(values: list[Any]) -> bool:
    return all(compare_values(one, other) <= 0 for one, other in pairwise(values))


def _extreme(name: str, sign: int) -> Callable[[list[Any]], Any]:
    def find(values: list[Any]) -> Any:
        if not values:
            raise EvaluationError(f"{name} called on empty list")
        best = values[0]
        for one in values[1:]:
            if compare_values(one, best) * sign > 0:
                best = one
        return best

    return find


def _sum_of(kind: str) -> Callable[[list[Any]], Any]:
    def total(values: list[Any]) -> Any:
        match kind:
            case "double":
                return float(sum(values))
            case "duration":
                return duration(sum(one.nanoseconds for one in values)) if values else Duration(0)
            case "uint":
                return Unsigned(_within(sum(map(int, values)), 0, LARGEST_UNSIGNED, "unsigned integer overflow"))
        return _within(sum(values), SMALLEST, LARGEST, "integer overflow")

    return total


def _within(number: int, least: int, most: int, problem: str) -> int:
    if least <= number <= most:
        return number
    raise EvaluationError(problem)


def _index_of(values: list[Any], wanted: Any) -> int:
    return next((place for place, one in enumerate(values) if equals(one, wanted)), -1)


def _last_index_of(values: list[Any], wanted: Any) -> int:
    return next((place for place in reversed(range(len(values))) if equals(values[place], wanted)), -1)


def _typed(
    name: str, kinds: tuple[t.Type, ...], make: Callable[[str], Callable[..., Any]], result: t.Type | None
) -> list[Overload]:
    return [
        member(name, f"list_{kind}_{name}", (t.list_of(kind),), result or kind, make(kind.kind), charges.of_traversal)
        for kind in kinds
    ]  # fmt: skip


OVERLOADS = (
    *_typed("isSorted", ORDERED, lambda kind: _is_sorted, t.BOOL),
    *_typed("sum", SUMMED, _sum_of, None),
    *_typed("max", ORDERED, lambda kind: _extreme("max", 1), None),
    *_typed("min", ORDERED, lambda kind: _extreme("min", -1), None),
    member("indexOf", "list_a_index_of", (t.list_of(t.A), t.A), t.INT, _index_of, charges.of_traversal),
    member("lastIndexOf", "list_a_last_index_of", (t.list_of(t.A), t.A), t.INT, _last_index_of, charges.of_traversal),
)
