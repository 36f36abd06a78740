"""Optional values: ``optional.of``, ``orValue``, ``hasValue`` ... (cel-go ``OptionalTypes``)."""

from __future__ import annotations

from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import EvaluationError
from kontinuum.api.machinery.cel.overloads import function, member
from kontinuum.api.machinery.cel.values import NOTHING, Duration, Optional, Record, Timestamp

OPTIONAL_A = t.optional_of(t.A)
LIST_A = t.list_of(t.A)


def _value(one: Optional) -> Any:
    if not one.is_present:
        raise EvaluationError("optional.none() dereference")
    return one.value


def _of_non_zero(value: Any) -> Optional:
    """Absent for what CEL counts as a type's zero."""
    if isinstance(value, (Timestamp, Duration)):
        return Optional(value) if value.nanoseconds else NOTHING
    if value is None or (not isinstance(value, Record) and not value):
        return NOTHING
    return Optional(value)


def _unwrap(values: list[Any]) -> list[Any]:
    return [one.value for one in values if one.is_present]


OVERLOADS = (
    function("optional.of", "optional_of", (t.A,), OPTIONAL_A, Optional),
    function("optional.none", "optional_none", (), OPTIONAL_A, lambda: NOTHING),
    function("optional.ofNonZeroValue", "optional_ofNonZeroValue", (t.A,), OPTIONAL_A, _of_non_zero),
    function("optional.unwrap", "optional_unwrap", (t.list_of(OPTIONAL_A),), LIST_A, _unwrap),
    member("unwrapOpt", "optional_unwrapOpt", (t.list_of(OPTIONAL_A),), LIST_A, _unwrap),
    member("hasValue", "optional_hasValue", (OPTIONAL_A,), t.BOOL, lambda a: a.is_present),
    member("value", "optional_value", (OPTIONAL_A,), t.A, _value),
    # These two are carried out by the program itself, which does not always look at the other side.
    member("or", "optional_or_optional", (OPTIONAL_A, OPTIONAL_A), OPTIONAL_A, lambda a, b: a if a.is_present else b),
    member("orValue", "optional_orValue_value", (OPTIONAL_A, t.A), t.A, lambda a, b: a.value if a.is_present else b),
    member("first", "list_first", (LIST_A,), OPTIONAL_A, lambda a: Optional(a[0]) if a else NOTHING),
    member("last", "list_last", (LIST_A,), OPTIONAL_A, lambda a: Optional(a[-1]) if a else NOTHING),
)
