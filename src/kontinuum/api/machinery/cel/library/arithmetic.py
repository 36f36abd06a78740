"""``+ - * / %`` and their likes: numbers are 64 bits wide and never wrap around."""

from __future__ import annotations

import math
from typing import Any

from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.errors import CostExceeded, EvaluationError
from kontinuum.api.machinery.cel.library import charges
from kontinuum.api.machinery.cel.overloads import function
from kontinuum.api.machinery.cel.times import FIRST, LAST, SECOND, duration
from kontinuum.api.machinery.cel.values import (
    LARGEST,
    LARGEST_UNSIGNED,
    LONGEST,
    SMALLEST,
    Duration,
    Timestamp,
    Unsigned,
    concatenated,
)


def _int(number: int, what: str = "integer overflow") -> int:
    if SMALLEST <= number <= LARGEST:
        return number
    raise EvaluationError(what)


def _uint(number: int) -> Unsigned:
    if 0 <= number <= LARGEST_UNSIGNED:
        return Unsigned(number)
    raise EvaluationError("unsigned integer overflow")


def _moment(nanoseconds: int) -> Timestamp:
    if FIRST <= nanoseconds // SECOND <= LAST:
        return Timestamp(nanoseconds)
    raise EvaluationError("timestamp overflow")


def _quotient(one: int, other: int) -> int:
    """Division towards zero."""
    if other == 0:
        raise EvaluationError("division by zero")
    found = abs(one) // abs(other)
    return found if (one < 0) == (other < 0) else -found


def _remainder(one: int, other: int) -> int:
    if other == 0:
        raise EvaluationError("modulus by zero")
    return one - other * _quotient(one, other)


def _divide(one: float, other: float) -> float:
    if other == 0.0:
        if one == 0.0 or math.isnan(one):
            return math.nan
        return math.copysign(math.inf, one) * math.copysign(1.0, other)
    return one / other


def _joined(one: Any, other: Any) -> Any:
    if len(one) + len(other) > LONGEST:
        raise CostExceeded
    return one + other


def _later(one: Any, other: Any) -> Timestamp:
    return _moment(one.nanoseconds + other.nanoseconds)


def _earlier(one: Any, other: Any) -> Timestamp:
    return _moment(one.nanoseconds - other.nanoseconds)


def _longer(one: Any, other: Any) -> Duration:
    return duration(one.nanoseconds + other.nanoseconds)


def _between(one: Any, other: Any) -> Duration:
    return duration(one.nanoseconds - other.nanoseconds)


I2, U2, D2, S2, B2 = (t.INT,) * 2, (t.UINT,) * 2, (t.DOUBLE,) * 2, (t.STRING,) * 2, (t.BYTES,) * 2
MOMENT, LENGTH = t.TIMESTAMP, t.DURATION

OVERLOADS = (
    function("_+_", "add_int64", I2, t.INT, lambda a, b: _int(a + b)),
    function("_+_", "add_uint64", U2, t.UINT, lambda a, b: _uint(int(a) + b)),
    function("_+_", "add_double", D2, t.DOUBLE, lambda a, b: a + b),
    function("_+_", "add_string", S2, t.STRING, _joined, charges.of_both),
    function("_+_", "add_bytes", B2, t.BYTES, _joined, charges.of_both),
    function("_+_", "add_list", (t.list_of(t.A), t.list_of(t.A)), t.list_of(t.A), concatenated, charges.of_lists),
    function("_+_", "add_timestamp_duration", (MOMENT, LENGTH), MOMENT, _later),
    function("_+_", "add_duration_timestamp", (LENGTH, MOMENT), MOMENT, _later),
    function("_+_", "add_duration_duration", (LENGTH, LENGTH), LENGTH, _longer),
    function("_-_", "subtract_int64", I2, t.INT, lambda a, b: _int(a - b)),
    function("_-_", "subtract_uint64", U2, t.UINT, lambda a, b: _uint(int(a) - int(b))),
    function("_-_", "subtract_double", D2, t.DOUBLE, lambda a, b: a - b),
    function("_-_", "subtract_timestamp_timestamp", (MOMENT, MOMENT), LENGTH, _between),
    function("_-_", "subtract_timestamp_duration", (MOMENT, LENGTH), MOMENT, _earlier),
    function("_-_", "subtract_duration_duration", (LENGTH, LENGTH), LENGTH, _between),
    function("_*_", "multiply_int64", I2, t.INT, lambda a, b: _int(a * b)),
    function("_*_", "multiply_uint64", U2, t.UINT, lambda a, b: _uint(int(a) * b)),
    function("_*_", "multiply_double", D2, t.DOUBLE, lambda a, b: a * b),
    function("_/_", "divide_int64", I2, t.INT, lambda a, b: _int(_quotient(a, b))),
    function("_/_", "divide_uint64", U2, t.UINT, lambda a, b: _uint(_quotient(int(a), int(b)))),
    function("_/_", "divide_double", D2, t.DOUBLE, _divide),
    function("_%_", "modulo_int64", I2, t.INT, _remainder),
    function("_%_", "modulo_uint64", U2, t.UINT, lambda a, b: _uint(_remainder(int(a), int(b)))),
    function("-_", "negate_int64", (t.INT,), t.INT, lambda a: _int(-a)),
    function("-_", "negate_double", (t.DOUBLE,), t.DOUBLE, lambda a: -a),
)  # fmt: skip
