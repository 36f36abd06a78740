"""Random expressions: well-typed ones by type, and texts that look like expressions but need not be any."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import hypothesis.strategies as st

from kontinuum.api.machinery.cel import types as t

Sources = st.SearchStrategy[str]

VARIABLES: dict[str, t.Type] = {
    "i": t.INT, "u": t.UINT, "d": t.DOUBLE, "s": t.STRING, "y": t.BYTES, "b": t.BOOL, "l": t.list_of(t.INT),
    "m": t.map_of(t.STRING, t.INT), "w": t.list_of(t.STRING), "x": t.DYN,
}  # fmt: skip
TIMES = ("2020-02-29T23:59:59.999999999Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2021-06-01T12:30:00+02:00")
DURATIONS = ("0s", "1h2m3s", "-1.5s", "10ms", "86400s", "100000h")
INTS = ("0", "1", "-1", "2", "7", "100", "9223372036854775807", "-9223372036854775808")
DOUBLES = ("0.0", "1.5", "-2.25", "1e10", "1e308", "3.0")
PATTERNS = ("'^h.*'", "'[a-z]+'", "'a|b'", "''", "'(\\\\d+)-(x)?'", "'\\\\pL'")


def quoted(text: str) -> str:
    """A string literal."""
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r"}
    return "'" + "".join(escapes.get(letter, letter) for letter in text) + "'"


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6)


def binary(operators: tuple[str, ...], one: Sources, other: Sources) -> Sources:
    return st.tuples(one, st.sampled_from(operators), other).map(lambda parts: "({} {} {})".format(*parts))


def calls(template: str, *arguments: Sources) -> Sources:
    return st.tuples(*arguments).map(lambda parts: template.format(*parts))


def choice(depth: int, leaves: list[Sources], nodes: Callable[[], list[Sources]]) -> Sources:
    return st.one_of(*leaves) if depth <= 0 else st.one_of(*leaves[:2], *nodes())


def either(kind: Callable[[int], Sources], depth: int) -> Sources:
    return calls("({} ? {} : {})", bools(depth - 1), kind(depth - 1), kind(depth - 1))


@cache
def ints(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.sampled_from(INTS), st.just("i"), st.integers(-20, 20).map(str)], lambda: [
        binary(("+", "-", "*", "/", "%"), ints(below), ints(below)),
        calls("(-({}))", ints(below)),
        calls("size({})", texts(below)), calls("{}.size()", int_lists(below)), calls("{}.size()", int_maps(below)),
        calls("int({})", doubles(below)), calls("int({})", uints(below)), calls("int({})", texts(below)),
        calls("{}[{}]", int_lists(below), ints(0)), calls("{}[{}]", int_maps(below), texts(0)),
        calls("{}.getHours()", times(below)), calls("{}.getFullYear()", times(below)),
        calls("{}.getDayOfWeek()", times(below)), calls("{}.getDayOfYear('{}')", times(below), zones()),
        calls("{}.getMinutes()", durations(below)), calls("{}.getSeconds()", durations(below)),
        calls("{}.indexOf({})", texts(below), texts(0)), calls("{}.lastIndexOf({})", texts(below), texts(0)),
        calls("cel.bind(v, {}, v + i)", ints(below)),
        calls("optional.of({}).orValue({})", ints(below), ints(below)),
        calls("{}[?{}].orValue(1)", int_lists(below), ints(0)),
        either(ints, depth),
    ])  # fmt: skip


@cache
def zones() -> Sources:
    return st.sampled_from(("UTC", "Europe/Berlin", "-08:00", "02:30", "No/Where"))


@cache
def uints(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.sampled_from(("0u", "1u", "18446744073709551615u")), st.just("u")], lambda: [
        binary(("+", "-", "*", "/", "%"), uints(below), uints(below)), calls("uint({})", ints(below)),
        calls("uint({})", texts(below)), calls("uint({})", doubles(below)),
    ])  # fmt: skip


@cache
def doubles(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.sampled_from(DOUBLES), st.just("d")], lambda: [
        binary(("+", "-", "*", "/"), doubles(below), doubles(below)), calls("(-({}))", doubles(below)),
        calls("double({})", ints(below)), calls("double({})", texts(below)), either(doubles, depth),
    ])  # fmt: skip


@cache
def texts(depth: int) -> Sources:
    below = depth - 1
    leaves = [TEXTS.map(quoted), st.just("s"), st.sampled_from(("'1'", "'-7'", "'2.5'", "'true'"))]
    return choice(depth, leaves, lambda: [
        binary(("+",), texts(below), texts(below)),
        calls("string({})", ints(below)), calls("string({})", uints(below)), calls("string({})", bools(below)),
        calls("string({})", times(below)), calls("string({})", durations(below)), calls("string({})", binaries(below)),
        calls("{}.lowerAscii()", texts(below)), calls("{}.upperAscii()", texts(below)),
        calls("{}.trim()", texts(below)),
        calls("{}.charAt({})", texts(below), ints(0)), calls("{}.substring({})", texts(below), ints(0)),
        calls("{}.substring({}, {})", texts(below), ints(0), ints(0)),
        calls("{}.replace({}, {})", texts(below), texts(0), texts(0)),
        calls("{}.join({})", text_lists(below), texts(0)),
        calls("{}[{}]", text_lists(below), ints(0)),
        calls("{}.replace({}, {}, {})", texts(0), texts(0), texts(0), ints(0)),
        either(texts, depth),
    ])  # fmt: skip


@cache
def binaries(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.sampled_from(("b'abc'", "b'\\xff\\x00'", "b''")), st.just("y")], lambda: [
        binary(("+",), binaries(below), binaries(below)), calls("bytes({})", texts(below)),
    ])  # fmt: skip


@cache
def bools(depth: int) -> Sources:
    below = depth - 1
    comparable = (ints, uints, doubles, texts, binaries, times, durations)
    equal = (*comparable, bools, int_lists, int_maps)
    return choice(depth, [st.sampled_from(("true", "false")), st.just("b")], lambda: [
        binary(("&&", "||"), bools(below), bools(below)), calls("(!({}))", bools(below)),
        *(binary(("<", "<=", ">", ">="), kind(below), kind(below)) for kind in comparable),
        *(binary(("==", "!="), kind(below), kind(below)) for kind in equal),
        binary(("in",), ints(below), int_lists(below)), binary(("in",), texts(below), int_maps(below)),
        calls("{}.startsWith({})", texts(below), texts(below)), calls("{}.endsWith({})", texts(below), texts(0)),
        calls("{}.contains({})", texts(below), texts(0)),
        calls("{}.matches({})", texts(below), st.sampled_from(PATTERNS)),
        calls("{}.all(v, {})", int_lists(below), predicates(below)),
        calls("{}.exists(v, {})", int_lists(below), predicates(below)),
        calls("{}.exists_one(v, {})", int_lists(below), predicates(below)),
        calls("{}.all(k, k != {})", int_maps(below), texts(0)), calls("bool({})", texts(below)),
        calls("has(x.{})", st.sampled_from(("a", "b", "c.d", "no"))),
        calls("x.{} == {}", st.sampled_from(("a", "b", "c.d", "no", "n")), st.one_of(ints(below), texts(0))),
        either(bools, depth),
    ])  # fmt: skip


@cache
def predicates(depth: int) -> Sources:
    """About the variable ``v``, an int."""
    return st.one_of(
        binary(("<", "==", ">="), st.just("v"), ints(depth - 1)),
        calls("(10 / v) > {}", ints(0)),
        bools(depth - 1),
    )


@cache
def int_lists(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.just("l"), st.lists(ints(0), min_size=1, max_size=3).map(_list)], lambda: [
        st.lists(ints(below), min_size=1, max_size=3).map(_list), binary(("+",), int_lists(below), int_lists(below)),
        calls("{}.filter(v, {})", int_lists(below), predicates(below)),
        calls("{}.map(v, v + {})", int_lists(below), ints(below)),
        calls("{}.map(v, {}, v * 2)", int_lists(below), predicates(below)), either(int_lists, depth),
    ])  # fmt: skip


@cache
def text_lists(depth: int) -> Sources:
    below = depth - 1
    return choice(depth, [st.just("w"), st.lists(texts(0), min_size=1, max_size=3).map(_list)], lambda: [
        st.lists(texts(below), min_size=1, max_size=3).map(_list), calls("{}.split({})", texts(below), texts(0)),
        calls("{}.split({}, {})", texts(below), texts(0), ints(0)),
        calls("{}.map(k, k)", int_maps(below)), calls("{}.map(v, string(v))", int_lists(below)),
    ])  # fmt: skip


def _list(elements: list[str]) -> str:
    return f"[{', '.join(elements)}]"


@cache
def int_maps(depth: int) -> Sources:
    below = depth - 1
    pairs = st.lists(st.tuples(texts(0), ints(below)), min_size=1, max_size=3)
    made = pairs.map(lambda found: "{" + ", ".join(f"{key}: {value}" for key, value in found) + "}")
    return choice(depth, [st.just("m"), made], lambda: [made, either(int_maps, depth)])


@cache
def times(depth: int) -> Sources:
    below = depth - 1
    literal = st.sampled_from(TIMES).map(lambda text: f"timestamp('{text}')")
    return choice(depth, [literal], lambda: [
        binary(("+", "-"), times(below), durations(below)), calls("timestamp({})", ints(below)),
        calls("timestamp({})", texts(0)),
    ])  # fmt: skip


@cache
def durations(depth: int) -> Sources:
    below = depth - 1
    literal = st.sampled_from(DURATIONS).map(lambda text: f"duration('{text}')")
    return choice(depth, [literal], lambda: [
        binary(("+", "-"), durations(below), durations(below)), binary(("-",), times(below), times(below)),
        calls("duration({})", texts(0)),
    ])  # fmt: skip


KINDS = (ints, uints, doubles, texts, binaries, bools, int_lists, text_lists, int_maps, times, durations)


def expressions(depth: int = 3) -> Sources:
    """Well-typed expressions over ``VARIABLES``."""
    return st.one_of(*(kind(depth) for kind in KINDS))


TOKENS = (
    *"()[]{}.,?:+-*/%!<>", "==", "!=", "<=", ">=", "&&", "||", "in", "has", "all", "exists", "map", "filter", "size",
    "i",
    "x", "s", "a", "true", "null", "1", "1u", "1.5", "'a'", "b'\\xff'", "r'\\d'", "cel.bind", "optional.of", ".?", "[?",
    "0x1f", "-1", "9223372036854775808", "as", "timestamp", "\"\"\"", "//", "\n", "Object", "JSONPatch{op: 'add'}",
    "orValue",
)  # fmt: skip


def soups() -> Sources:
    """Tokens in any order: mostly nonsense, sometimes an expression."""
    return st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join)
