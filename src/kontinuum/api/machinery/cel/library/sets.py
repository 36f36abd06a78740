"""Lists as sets: ``sets.contains``, ``sets.equivalent``, ``sets.intersects`` (cel-go ``ext.Sets``)."""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function
from kontinuum.api.machinery.cel.values import contains

TWO = (t.list_of(t.A), t.list_of(t.A))


def _contains(whole: list[Any], part: list[Any]) -> bool:
    return all(contains(whole, one) for one in part)


def _equivalent(one: list[Any], other: list[Any]) -> bool:
    return _contains(one, other) and _contains(other, one)


def _intersects(one: list[Any], other: list[Any]) -> bool:
    return any(contains(other, element) for element in one)


OVERLOADS = (
    function("sets.contains", "list_sets_contains_list", TWO, t.BOOL, _contains, charges.of_pairs),
    function("sets.equivalent", "list_sets_equivalent_list", TWO, t.BOOL, _equivalent, charges.of_pairs),
    function("sets.intersects", "list_sets_intersects_list", TWO, t.BOOL, _intersects, charges.of_pairs),
)
