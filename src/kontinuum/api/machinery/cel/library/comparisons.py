"""``== != < <= > >=`` and the logic of truth values."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import Overload, function
from kontinuum.api.machinery.cel.values import equals

ORDERS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("_<_", "less", operator.lt),
    ("_<=_", "less_equals", operator.le),
    ("_>_", "greater", operator.gt),
    ("_>=_", "greater_equals", operator.ge),
)
NUMBERS = (t.INT, t.UINT, t.DOUBLE)


def _ordered() -> list[Overload]:
    found: list[Overload] = []
    for symbol, name, compare in ORDERS:
        for kind in (t.BOOL, t.INT, t.UINT, t.DOUBLE):
            found.append(function(symbol, f"{name}_{kind}", (kind, kind), t.BOOL, compare))
        for kind in (t.STRING, t.BYTES):
            found.append(function(symbol, f"{name}_{kind}", (kind, kind), t.BOOL, compare, charges.of_smaller))
        for kind in (t.TIMESTAMP, t.DURATION):
            found.append(function(symbol, f"{name}_{kind}", (kind, kind), t.BOOL, _by_nanoseconds(compare)))
        for one in NUMBERS:
            for other in NUMBERS:
                if one != other:
                    found.append(function(symbol, f"{name}_{one}_{other}", (one, other), t.BOOL, compare))
    return found


def _by_nanoseconds(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: compare(one.nanoseconds, other.nanoseconds)


def compare_values(one: Any, other: Any) -> int:
    """-1, 0 or 1. Raises TypeError for what has no order."""
    if hasattr(one, "nanoseconds"):
        one, other = one.nanoseconds, other.nanoseconds
    return int(one > other) - int(one < other)


OVERLOADS = (
    function("_==_", "equals", (t.A, t.A), t.BOOL, equals, charges.of_smaller),
    function("_!=_", "not_equals", (t.A, t.A), t.BOOL, lambda a, b: not equals(a, b), charges.of_smaller),
    *_ordered(),
    function("!_", "logical_not", (t.BOOL,), t.BOOL, operator.not_),
    # These three are carried out by the program itself, which does not always look at both sides.
    function("_&&_", "logical_and", (t.BOOL, t.BOOL), t.BOOL, operator.and_),
    function("_||_", "logical_or", (t.BOOL, t.BOOL), t.BOOL, operator.or_),
    function("_?_:_", "conditional", (t.BOOL, t.A, t.A), t.A, lambda c, a, b: a if c else b),
)
