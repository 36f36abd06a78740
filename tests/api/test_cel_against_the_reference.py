"""Our expressions come to what CEL's reference implementation in C++ makes of them.

cel-expr-python (0.1.3 of June 2026, Apache-2.0, one wheel of 16 MB without dependencies) is for tests only. It is not
cel-go, whose behaviour Kubernetes has; where the two differ we follow cel-go: ``DIFFERENCES`` lists where, and why.
"""

from __future__ import annotations

import datetime
import math
import re
from functools import cache
from typing import Any, NamedTuple

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings
from hypothesis import HealthCheck, assume, given, settings
from tests.api.cel_expressions import VARIABLES, expressions

from kontinuum.api.machinery.cel import CompileError, Environment, EvaluationFailed
from kontinuum.api.machinery.cel.values import Duration, Timestamp, Unsigned

DIFFERENCES = {
    r"string\(.*(timestamp|duration)": "fractions of seconds have as many digits as needed in Go, threes in C++",
    r"\.map\(k, k\)": "the order of a map's keys is nobody's promise",
    r"\.split\(": "an empty text split by nothing is no parts in Go, one in C++",
    r"\.substring\([^()]*, ": "a part that ends where the text ends is out of range in C++",
    r"\.(all|exists)\(.*cel\.bind\(": "a macro that ends early leaves its last element to the next name bound in C++",
}
LITERAL = re.compile(r"invalid (duration|timestamp|matches) argument")
"""Kubernetes refuses a literal that cannot be read when the expression is stored, the reference when it gets there."""
TWICE = "duplicate key in map"
"""Ends everything in the reference; in Go it is an error like others: ``error && false`` is false."""
NEAR = 100
"""Microseconds: the reference answers times as floating point numbers."""
DATA: dict[str, Any] = {
    "i": 3, "u": 5, "d": 1.5, "s": "héllo", "y": b"ab", "b": True, "l": [1, 2, 3], "m": {"a": 1, "b": 2},
    "w": ["x", "y"], "x": {"a": 1, "b": "t", "c": {"d": [1]}, "n": None},
}  # fmt: skip
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Outcome(NamedTuple):
    """``kind``: value, error (when it is evaluated), or refused (when it is compiled)."""

    kind: str
    value: Any


@cache
def reference() -> Any:
    kind = cel.Type
    variables = {
        "i": kind.INT, "u": kind.UINT, "d": kind.DOUBLE, "s": kind.STRING, "y": kind.BYTES, "b": kind.BOOL,
        "l": kind.List(kind.INT), "m": kind.Map(kind.STRING, kind.INT), "w": kind.List(kind.STRING), "x": kind.DYN,
    }  # fmt: skip
    extensions = [ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_bindings.ExtBindings()]
    return cel.NewEnv(variables=variables, extensions=extensions)


def theirs(source: str) -> Outcome:
    try:
        program = reference().compile(source)
    except RuntimeError as error:
        return Outcome("refused", str(error))
    try:
        found = program.eval(data=DATA)
        if found.type() == cel.Type.ERROR:
            return Outcome("error", found.plain_value())
        return Outcome("value", _comparable(found.plain_value()))
    except RuntimeError as error:
        return Outcome("error", str(error))


def ours(source: str) -> Outcome:
    try:
        program = Environment(VARIABLES).compile(source)
    except CompileError as error:
        return Outcome("refused", str(error))
    try:
        return Outcome("value", _comparable(program.evaluate({**DATA, "u": Unsigned(5)})))
    except EvaluationFailed as error:
        return Outcome("error", str(error))


def _comparable(value: Any) -> Any:
    match value:
        case Timestamp() | Duration():
            return (type(value).__name__, value.nanoseconds // 1000)
        case datetime.datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
            return ("Timestamp", round((moment - EPOCH) / datetime.timedelta(microseconds=1)))
        case datetime.timedelta():
            return ("Duration", value // datetime.timedelta(microseconds=1))
        case bytearray():
            return bytes(value)
        case Unsigned():
            return int(value)
        case list():
            return [_comparable(one) for one in value]
        case dict():
            return {key: _comparable(one) for key, one in value.items()}
    return value


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return bool(one[0] == other[0] and abs(one[1] - other[1]) <= NEAR)
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and bool(one == other)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(expressions())
def test_a_well_typed_expression_comes_to_the_same(source: str) -> None:
    assume(not any(re.search(pattern, source) for pattern in DIFFERENCES))
    mine, expected = ours(source), theirs(source)
    if mine.kind == "refused" and LITERAL.search(mine.value):
        return
    if expected.kind == "error" and TWICE in expected.value:
        return
    assert mine.kind == expected.kind, (mine, expected)
    assert mine.kind != "value" or is_same(mine.value, expected.value), (mine, expected)


@pytest.mark.parametrize(
    "source",
    [
        "1 + 'a'", "no", "no(1)", "true ? 1 : 'a'", "i in 3", "!i", "-s", "l[s]", "m[i]", "d % 2.0",
        "[1, 2].all(v, v)", "l.exists(v, 'a')", "l.exists_one(v, v)",
        "size(i)", "s + i + s", "i == s", "b && s",
    ],
)  # fmt: skip
def test_a_wrong_expression_is_refused_with_the_same_words(source: str) -> None:
    mine, expected = ours(source), theirs(source)
    assert mine.kind == expected.kind == "refused"
    assert mine.value in expected.value


@pytest.mark.parametrize(
    "source", ["", "1 +", "(1", "1)", "'a", "a..b", "1 2", "{1: }", "[1,,2]", "a ? b", "if", "1.", "0x", "\\", "a.b{"]
)
def test_what_is_no_expression_is_refused_by_both(source: str) -> None:
    assert ours(source).kind == theirs(source).kind == "refused"


@pytest.mark.parametrize(
    ("source", "mine", "expected"),
    [
        ("string(duration('10ms'))", "0.01s", "0.010s"),
        ("''.split('')", [], [""]),
        ("l.exists(v, v < i) ? cel.bind(k, 7, k) : i", 7, 2),
    ],
)  # fmt: skip
def test_the_differences_are_still_there(source: str, mine: Any, expected: Any) -> None:
    """When one is gone, it can be taken from the list."""
    assert (ours(source).value, theirs(source).value) == (mine, expected)
