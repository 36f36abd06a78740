"""What must never happen, whatever an expression says and whatever it is about: anything but a value or a CelError."""

from __future__ import annotations

import contextlib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.api.cel_expressions import VARIABLES, expressions, soups

from kontinuum.api.machinery.cel import Budget, CompileError, Declared, Environment, EvaluationFailed
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import functions
from kontinuum.api.machinery.cel.values import NOTHING, Duration, Optional, Timestamp, TypeValue, Unsigned, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abcn"), below, max_size=3),
    max_leaves=8,
)
KNOWN: dict[str, Any] = {
    "i": 3, "u": Unsigned(5), "d": 1.5, "s": "héllo", "y": b"ab", "b": True, "l": [1, 2, 3], "m": {"a": 1, "b": 2},
    "w": ["x", "y"],
}  # fmt: skip
UNTYPED = Environment(VARIABLES, patches=True)
SLOWLY = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


def outcome(within: Environment, source: str, values: dict[str, Any]) -> None:
    """Compile, evaluate and show; only the errors that callers know of come out of it."""
    try:
        program = within.compile(source)
    except CompileError as error:
        assert isinstance(str(error), str)
        return
    try:
        to_json(program.evaluate(values, Budget(200_000), limit=100_000))
    except EvaluationFailed as error:
        assert str(error)


@SLOWLY
@given(st.one_of(st.text(max_size=60), soups(), st.text("()[]{}\"'\\rub.?:i01+-*/ax,<=&|!\n \t", max_size=40)), JSON)
def test_any_text_is_an_expression_or_refused(source: str, data: Any) -> None:
    outcome(UNTYPED, source, {**KNOWN, "x": data})


@SLOWLY
@given(expressions(), JSON)
def test_any_expression_has_a_value_or_fails_in_a_known_way(source: str, data: Any) -> None:
    outcome(UNTYPED, source, {**KNOWN, "x": data})


# Values of every type, those that texts can be read as, and those at the edges.
VALUES = st.one_of(
    JSON,
    st.integers(-3, 3),
    st.sampled_from([
        "1", "10.0.0.1", "10.0.0.0/8", "::1", "1Gi", "1.2.3", "http://a/b?c=d", "%s", "%d %x %.99f", "[a-z]", "uuid",
        "/", "nginx:1", "2024-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1h", "Europe/Berlin",
    ]),
    st.binary(max_size=4),
    st.integers(0, 2**64 - 1).map(Unsigned),
    st.integers(-(6 * 10**19), 2 * 10**20).map(Timestamp),
    st.integers(-(2**63), 2**63 - 1).map(Duration),
    st.just(NOTHING),
    JSON.map(Optional),
    st.just(TypeValue("int")),
)  # fmt: skip
MAKERS = (
    *("v{}",) * 6, "quantity(string(v{}))", "ip(string(v{}))", "cidr(string(v{}))", "semver(string(v{}))",
    "url(string(v{}))", "format.named(string(v{})).value()", "image(string(v{}))", "[v{}]", "{{'a': v{}}}", "type(v{})",
)  # fmt: skip
FUNCTIONS = sorted({
    (name, one.is_member, len(one.parameters))
    for name, overloads in functions().items()
    for one in overloads
    if name[0].isalpha()
})  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||")
ANYTHING = Environment({f"v{place}": t.DYN for place in range(5)})


def test_there_are_functions_to_try() -> None:
    assert len(FUNCTIONS) > 150


@settings(SLOWLY, max_examples=600)
@given(st.sampled_from(FUNCTIONS), st.lists(VALUES, min_size=5, max_size=5), st.data())
def test_any_function_takes_anything(function: tuple[str, bool, int], values: list[Any], data: st.DataObject) -> None:
    name, is_member, count = function
    given_ = [data.draw(st.sampled_from(MAKERS)).format(place) for place in range(count)]
    source = f"{given_[0]}.{name}({', '.join(given_[1:])})" if is_member else f"{name}({', '.join(given_)})"
    outcome(ANYTHING, source, {f"v{place}": value for place, value in enumerate(values)})


@settings(SLOWLY, max_examples=300)
@given(st.sampled_from(OPERATORS), VALUES, VALUES)
def test_any_operator_takes_anything(operator: str, one: Any, other: Any) -> None:
    for source in (
        f"v0 {operator} v1",
        f"[v0] {operator} [v1]",
        f"v0[v1] {operator} -v0",
        f"v0 ? v1 {operator} v0 : !v1",
    ):
        outcome(ANYTHING, source, {"v0": one, "v1": other})


SIZED = Environment({
    "i": Declared(t.INT), "u": Declared(t.UINT), "d": Declared(t.DOUBLE), "b": Declared(t.BOOL),
    "s": Declared(t.STRING, None, 20), "y": Declared(t.BYTES, None, 2),
    "l": Declared(t.list_of(t.INT), None, 3, items=Declared(t.INT)),
    "w": Declared(t.list_of(t.STRING), None, 2, items=Declared(t.STRING, None, 4)),
    "m": Declared(t.map_of(t.STRING, t.INT), None, 2, items=Declared(t.INT), keys=Declared(t.STRING, None, 4)),
})  # fmt: skip
"""The variables of ``KNOWN`` with the limits that a schema would give."""


@SLOWLY
@given(expressions())
def test_the_estimated_cost_is_about_the_most_that_an_evaluation_costs(source: str) -> None:
    """Estimates are Kubernetes'; a copied list and a joined text cost up to twice as much here (decision 0019)."""
    try:
        program = SIZED.compile(source)
    except CompileError:
        return
    budget = Budget()
    before = budget.remaining
    with contextlib.suppress(EvaluationFailed):
        program.evaluate(KNOWN, budget)
    assert before - budget.remaining <= 2 * program.cost.most + 5


@pytest.mark.parametrize(
    "nested", ["[", "{'a':", "(", "!", "-", "x.all(a,", "x[", "has(", "true ? ", "cel.bind(a, 1, "]
)
@pytest.mark.parametrize("depth", [40, 400, 20_000])
def test_no_depth_is_too_deep(nested: str, depth: int) -> None:
    for source in (nested * depth, nested * depth + "1", nested * depth + "1" + ")" * depth):
        outcome(UNTYPED, source, {**KNOWN, "x": {}})


@pytest.mark.parametrize("chained", ["x + ", "x && ", "x || ", "x.a.", "x == ", "x ? x : ", "x[0]["])
def test_no_chain_is_too_long(chained: str) -> None:
    for count in (200, 2_000, 20_000):
        outcome(UNTYPED, chained * count + "x", {**KNOWN, "x": True})


def test_no_data_are_too_deep() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = {"a": [deep]}
    for source in ("x == x", "x", "[x] + [x]", "x.a[0].a == x.a", "string(x)", "{'a': x}"):
        outcome(UNTYPED, source, {**KNOWN, "x": deep})
