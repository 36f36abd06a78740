"""Kubernetes' expressions: what they come to, what is wrong with them in which words, and what they may cost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

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
    object_of,
    optional,
    plain,
)
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.cel.library import authorizers
from kontinuum.api.machinery.cel.values import to_json

DATA: dict[str, Any] = {
    "x": {"a": 1, "b": "text", "c": {"d": [1, 2]}, "n": None, "t": True, "m": {"k": "v"}},
    "l": [3, 1, 2],
    "s": "héllo",
}
HERE = Environment({"x": t.DYN, "l": t.list_of(t.INT), "s": t.STRING}, patches=True)


def value(source: str) -> Any:
    return to_json(HERE.compile(source).evaluate(DATA))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Arithmetic: 64 bits, towards zero, and no mixture of types in operators but in comparisons.
        ("7 / 2", 3), ("-7 / 2", -3), ("-7 % 3", -1), ("7 % -3", 1), ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9),
        ("1.0 / 4.0", 0.25), ("5u % 3u", 2), ("-9223372036854775808", -(2**63)), ("0x1F + 1", 32), ("--3", 3),
        ("1 < 1.5 && 1u <= 1 && 2.0 > 1u", True), ("dyn(1) == 1.0", True), ("dyn(1) == 1u", True),
        ("dyn(1) == '1'", False),
        # Texts are characters, not bytes.
        ("s.size()", 5), ("size('😀')", 1), ("bytes(s).size()", 6), ("'\\u00e9' == 'é' && r'\\n'.size() == 2", True),
        ("'''a\nb'''", "a\nb"), ("\"a\\\"b\"", 'a"b'), ("'a' 'b'", None), ("s[0]", None),
        ("'a' < 'b' && 'B' < 'a' && 'a' + 'b' == 'ab'", True), ("b'\\xff' > b'a'", True),
        ("'a,b,,c'.split(',')", ["a", "b", "", "c"]), ("'abc'.split('')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("['a', 'b'].join('-')", "a-b"), ("'Hello'.lowerAscii() + 'É'.upperAscii()", "helloÉ"), ("'  a '.trim()", "a"),
        ("'hello'.replace('l', 'L', 1)", "heLlo"), ("'hello'.substring(1, 3)", "el"), ("'héllo'.indexOf('l')", 2),
        ("'hello'.lastIndexOf('l')", 3), ("'hello'.charAt(5)", ""), ("'abc'.reverse()", "cba"),
        ("'%s is %d or %.2f, %x %b %e'.format([dyn('a'), 3, 1.5, 255, 5, 1000.0])",
        "a is 3 or 1.50, ff 101 1.000000e+03"),
        ("strings.quote('a\"b\\n')", '"a\\"b\\n"'),
        ("'foo 123'.matches('[0-9]+$') && !'foo'.matches('^o')", True), ("'abc 123'.find('[0-9]+')", "123"),
        ("'1 2 3'.findAll('[0-9]', 2)", ["1", "2"]),
        # Logic absorbs errors on the side that does not decide.
        ("true || 1 / 0 > 1", True), ("1 / 0 > 1 || true", True), ("false && x.no", False), ("x.no && false", False),
        ("true ? 1 : 1 / 0", 1), ("!x.t", False), ("[1, 0].exists(i, 1 / i == 1)", True),
        ("[0, 1].all(i, 1 / i > 5)", False),
        # Selections, tests and optional values.
        ("x.c.d[1]", 2), ("has(x.a) && !has(x.no) && has(x.c.d) && has(x.n)", True), ("x['a']", 1), ("x.m['k'] + x.b",
        "vtext"),
        ("x.?a.orValue(5)", 1), ("x.?no.orValue(5)", 5), ("x.?no.?way.hasValue()", False), ("l[?7].orValue(0)", 0),
        ("optional.of(1).optMap(v, v + 1).value()", 2), ("optional.none().or(optional.of(3)).value()", 3),
        ("optional.ofNonZeroValue('').hasValue()", False), ("[1, ?x.?no, ?optional.of(2)]", [1, 2]),
        ("{'a': 1, ?'b': x.?no}", {"a": 1}), ("optional.of(1).orValue(1 / 0)", 1),
        ("optional.of(optional.of(2)).optFlatMap(v, v).value()", 2),
        # Lists, maps and their macros.
        ("1 in l && !(9 in l) && 'a' in x", True), ("l + [4]", [3, 1, 2, 4]),
        ("[1, 2] == [1, 2] && [1, 2] != [2, 1]", True),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", True), ("l.filter(i, i > 1)", [3, 2]), ("l.map(i, i * 2)", [6, 2, 4]),
        ("l.map(i, i > 1, i * 2)", [6, 4]), ("l.all(i, i > 0) && l.exists(i, i == 3) && l.exists_one(i, i == 1)", True),
        ("{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])", True), ("{'a': 1}.map(k, k)", ["a"]),
        ("l.all(i, v, i < 3 && v > 0)", True), ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", True),
        ("l.transformList(i, v, i * v)", [0, 1, 4]), ("{'a': 1}.transformMap(k, v, v + 1)", {"a": 2}),
        ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v)", {"b": 2}),
        ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", {"b": "a"}),
        ("l.isSorted() || [1, 2, 2].isSorted()", True), ("l.sum() + l.max() - l.min()", 8), ("l.indexOf(2)", 2),
        ("['a', 'b', 'a'].lastIndexOf('a')", 2), ("[1.5, 2.0].sum()", 3.5),
        ("sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2])", True),
        ("cel.bind(v, l.size(), v * v)", 9), ("[[1], [2, 3]].map(i, i.size())", [1, 2]),
        # Types and conversions.
        ("type(1) == int && type('') == string && type([]) == list && type(1) != uint", True),
        ("type(null) == null_type && type(timestamp(0)) == google.protobuf.Timestamp", True),
        ("int('7') + int(3.9) + int(2u)", 12), ("double('1.5') + double(2)", 3.5), ("uint(3) == 3u", True),
        ("string(1) + string(1.5) + string(true) + string(b'a')", "11.5truea"), ("bool('true') && bool('t')", True),
        ("dyn(1) == 1", True), ("bytes('a') == b'a'", True),
        # Times.
        ("timestamp('2024-02-29T12:30:45.5Z').getMonth()", 1), ("timestamp('2024-02-29T12:30:45Z').getDayOfYear()", 59),
        ("timestamp('2024-01-01T00:30:00Z').getFullYear('-01:00')", 2023),
        ("timestamp('2024-02-29T23:30:00Z').getDate('Europe/Berlin')", 1),
        ("timestamp('9999-12-31T23:30:00Z').getFullYear('+01:00')", 10000),
        ("timestamp('9999-12-31T23:30:00Z').getDayOfWeek('+01:00')", 6),
        ("timestamp('0001-01-01T00:00:00Z').getFullYear('-01:00')", 0),
        ("string(timestamp('2024-01-01T00:00:00Z') + duration('1h30m'))", "2024-01-01T01:30:00Z"),
        ("timestamp(0) == timestamp('1970-01-01T00:00:00Z')", True), ("duration('90s').getMinutes()", 1),
        ("string(duration('1h') + duration('500ms'))", "3600.5s"), ("duration('1m') < duration('61s')", True),
        ("timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')", True),
        ("timestamp('2024-01-01T00:00:00Z')", "2024-01-01T00:00:00Z"), ("duration('1.5s')", "1.5s"),
        # Kubernetes' libraries.
        ("quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').asInteger() == 50000", True),
        ("quantity('1.5').add(quantity('500m')).compareTo(quantity('2'))", 0),
        ("isQuantity('1Ki') && !isQuantity('1Kj')", True),
        ("quantity('200m').asApproximateFloat()", 0.2),
        ("quantity('3').sub(1).isLessThan(quantity('3')) && quantity('-1').sign() == -1", True),
        ("url('https://a.example:8080/p?q=1&q=2').getHostname()", "a.example"),
        ("url('https://a:80/p?q=1').getQuery()", {"q": ["1"]}),
        ("url('https://[::1]:80/').getHost() == '[::1]:80' && !isURL('../a') && isURL('/a')", True),
        ("ip('10.0.0.1').family()", 4), ("ip('::ffff').isGlobalUnicast() && ip('127.0.0.1').isLoopback()", True),
        ("isIP('1.2.3.4') && !isIP('1.2.3') && ip.isCanonical('2001:db8::abcd')", True),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.0.0.0/8').prefixLength()", 8), ("string(cidr('10.1.0.0/8').masked())", "10.0.0.0/8"),
        ("isCIDR('10.0.0.0/33')", False),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('1.0.0-rc.1')", True),
        ("semver('1.2.3').major()", 1),
        ("semver('v1.2', true).minor()", 2), ("!format.dns1123Label().validate('my-label').hasValue()", True),
        ("format.dns1123Label().validate('My_Label').hasValue()", True), ("format.named('uuid').hasValue()", True),
        ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
        ("Object{spec: Object.spec{replicas: 1, ?paused: x.?no}}", {"spec": {"replicas": 1}}),
        ("[JSONPatch{op: 'add', path: '/a', value: {'b': 1}}]", [{"op": "add", "path": "/a", "value": {"b": 1}}]),
        ("1 /* no comment */", None), ("1 // a comment\n + 1", 2),
    ],
)  # fmt: skip
def test_an_expression_comes_to(source: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises((CompileError, EvaluationError)):
            value(source)
        return
    found = value(source)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "division by zero"), ("1 % 0", "modulus by zero"), ("9223372036854775807 + 1", "overflow"),
        ("-(-9223372036854775808)", "overflow"), ("0u - 1u", "overflow"), ("int(1e20)", "overflow"), ("int('x')",
        "type conversion error"),
        ("x.no", "no such key: no"), ("x.c.no", "no such key: no"), ("l[3]", "index out of bounds: 3"), ("l[-1]",
        "index out of bounds: -1"),
        ("x.a.b", "no such overload"), ("x.a + x.b", "no such overload"), ("x.b > 1", "no such overload"), ("!x.a",
        "no such overload"),
        ("x.a ? 1 : 2", "no such overload"), ("x.t && x.a", "no such overload"), ("{'a': 1, 'a': 2}",
        "repeated key: a"),
        ("optional.none().value()", "optional.none() dereference"), ("'a'.substring(2)", "index out of range: 2"),
        ("timestamp('2024-01-01T00:00:00Z').getDate('No/Where')", "unknown time zone No/Where"),
        ("timestamp(x.b)", "cannot parse"), ("duration(x.b)", 'invalid duration "text"'), ("'a'.matches('(' + s)",
        "error parsing regexp"),
        ("quantity('x')", "quantities must match the regular expression"), ("ip('1.2.3')",
        "parse error during conversion from string"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "overflow"), ("[1, 2].map(i, {'a': i})[5]",
        "index out of bounds"),
        ("x.c.d.exists(i, i == y)", None),
    ],
)  # fmt: skip
def test_an_evaluation_fails_with(source: str, problem: str | None) -> None:
    if problem is None:
        with pytest.raises(CompileError):
            value(source)
        return
    with pytest.raises(EvaluationError) as caught:
        value(source)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 + 'a'", "<input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("no", "<input>:1:1: undeclared reference to 'no' (in container '')"),
        ("no(1)", "<input>:1:3: undeclared reference to 'no' (in container '')"),
        ("s.no()", "<input>:1:5: undeclared reference to 'no' (in container '')"),
        ("s.a", "type 'string' does not support field selection"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("l.all(i, i)", "<input>:1:6: found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("s.all(i, true)",
        "cannot be range of a comprehension"),
        ("true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("1 +", "<input>:1:4: Syntax error: mismatched input '<EOF>'"), ("(1", "Syntax error"), ("1 2", "Syntax error"),
        ("'a", "Syntax error"), ("a.if", None), ("9223372036854775808", "invalid int literal"), ("@",
        "token recognition error"),
        ("l.all(1, true)", "argument must be a simple name"), ("has(1)", "invalid argument to has() macro"),
        ("'a'.matches('(')", "invalid matches argument"), ("duration('x')", "invalid duration argument"),
        ("timestamp('x')", "invalid timestamp argument"), ("Object.spec{a: Object.other{}}",
        "expected type of field 'a'"),
        ("JSONPatch{no: 1}", "undefined field 'no'"), ("Other{}", "undeclared reference to 'Other'"),
        ("(" * 60 + "1" + ")" * 60, "expression recursion limit exceeded: 250"),
        ("1" + " + 1" * 300, "expression recursion limit exceeded: 250"),
        ("x" + ".a" * 300, "expression recursion limit exceeded: 250"),
        ("'" + "a" * 100_001 + "'", "expression code point size exceeds limit"),
    ],
)  # fmt: skip
def test_an_expression_does_not_compile_because(source: str, problem: str | None) -> None:
    if problem is None:
        # A word of other languages is a field's name like any other.
        assert HERE.compile("x.if") is not None
        return
    with pytest.raises(CompileError) as caught:
        HERE.compile(source)
    assert problem in str(caught.value)


def test_a_complaint_shows_the_line_and_the_place() -> None:
    with pytest.raises(CompileError) as caught:
        HERE.compile("true &&\n\tl.no == 1 && missing")
    assert str(caught.value) == (
        "ERROR: <input>:2:3: type 'list(int)' does not support field selection\n"
        " |  l.no == 1 && missing\n | ..^\n"
        "ERROR: <input>:2:15: undeclared reference to 'missing' (in container '')\n"
        " |  l.no == 1 && missing\n | ..............^"
    )


def test_a_result_of_the_wrong_type_is_told_with_both_types() -> None:
    for source, wanted, text in (
        ("1", (t.BOOL,), "must evaluate to bool but got int"),
        ("x.a", (t.BOOL,), "must evaluate to bool but got dyn"),
        ("timestamp(0)", (t.STRING, t.NULL),
         "must evaluate to one of [string null_type] but got google.protobuf.Timestamp"),
        ("[b'a']", (t.STRING,), "must evaluate to string but got list(bytes)"),
    ):  # fmt: skip
        with pytest.raises(CompileError) as caught:
            HERE.compile(source, *wanted)
        assert str(caught.value) == text and not caught.value.issues


SCHEMA = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"}, "ratio": {"type": "number"}, "since": {"type": "string",
        "format": "date-time"},
        "raw": {"type": "string", "format": "byte"}, "wait": {"type": "string", "format": "duration"},
        "x-y": {"type": "string"}, "namespace": {"type": "string"}, "a__b": {"type": "string"},
        "$ref": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": True}, "free": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": True},
        "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "words": {"type": "object", "additionalProperties": {"type": "string"}},
        "maybe": {"type": "integer", "nullable": True},
    },
}  # fmt: skip
OBJECT = {
    "replicas": 3, "ratio": 2, "since": "2024-01-01T00:00:00Z", "raw": "YWJj", "wait": "90s", "x-y": "a",
    "namespace": "n",
    "a__b": "u", "port": "http", "names": ["a", "b"], "items": [{"k": "a", "v": 1}, {"k": "b",
    "v": 2}], "words": {"w": "1"},
    "maybe": None,
}  # fmt: skip


def typed(source: str, *, obj: dict[str, Any] | None = None, old: Any = None) -> Any:
    declared = declare(SCHEMA, "self")
    assert declared is not None
    within = Environment({"self": declared, "oldSelf": optional(declared)})
    return within.compile(source).evaluate({"self": obj or OBJECT, "oldSelf": old})


@pytest.mark.parametrize(
    "source",
    [
        "self.replicas + 1 == 4", "self.ratio == 2.0", "self.since < timestamp('2025-01-01T00:00:00Z')",
        "self.raw == b'abc'",
        "self.wait == duration('1m30s')",
        "self.x__dash__y == 'a' && self.__namespace__ == 'n' && self.a__underscores__b == 'u'",
        "self.port == 'http'", "self.names == ['b', 'a'] && self.names + ['a', 'c'] == ['a', 'b', 'c']",
        "self.items.exists(i, i.k == 'b' && i.v == 2)", "self.items.all(i, i.v > 0)",
        "self.words['w'] == '1' && 'w' in self.words",
        "has(self.maybe)", "!has(self.words.no)", "type(self.replicas) == int", "!oldSelf.hasValue()",
    ],
)  # fmt: skip
def test_values_are_typed_by_their_schema(source: str) -> None:
    assert typed(source) is True


def test_what_a_schema_does_not_name_is_not_visible() -> None:
    for source in ("self.no", "self.free.a", "self.x_y", "self.replicas.a", "self.replicas == 'a'"):
        with pytest.raises(CompileError):
            typed(source)


def test_data_that_do_not_fit_the_schema_are_an_error_where_they_are_read() -> None:
    assert typed("self.ratio == 2.0", obj={**OBJECT, "replicas": "x"}) is True
    with pytest.raises(EvaluationError, match="invalid data, expected int"):
        typed("self.replicas == 1", obj={**OBJECT, "replicas": "x"})


def test_the_old_object_may_be_absent() -> None:
    assert typed("oldSelf.optMap(o, o.replicas <= self.replicas).orValue(true)", old={**OBJECT, "replicas": 2}) is True


def test_names_with_dots_are_one_variable() -> None:
    asked: list[authorizers.Question] = []

    def ask(question: authorizers.Question) -> authorizers.Answer:
        asked.append(question)
        return authorizers.Answer(question.verb == "get", "because")

    within = Environment(
        {"authorizer": authorizers.AUTHORIZER, "authorizer.requestResource": authorizers.RESOURCE_CHECK}
    )
    values = {
        "authorizer": authorizers.Authorizer(ask),
        "authorizer.requestResource": authorizers.ResourceCheck(ask, authorizers.Question(resource="pods")),
    }
    source = (
        "authorizer.requestResource.check('get').allowed()"
        " && authorizer.path('/metrics').check('post').reason() == 'because' && !authorizer.serviceAccount('n', 's')"
        ".group('apps').resource('deployments').namespace('n').check('list').allowed()"
    )
    budget = Budget()
    assert within.compile(source).evaluate(values, budget, limit=2_000_000) is True
    assert [(one.verb, one.resource, one.path, one.service_account) for one in asked] == [
        ("get", "pods", "", None), ("post", "", "/metrics", None), ("list", "deployments", "", ("n", "s")),
    ]  # fmt: skip
    # Two questions fit into what one evaluation may cost, three do not.
    with pytest.raises(CostExceeded):
        within.compile(source).evaluate(values)


NESTED = "l.all(a, l.all(b, l.all(c, l.all(d, l.all(e, a + b + c + d + e >= 0)))))"
LONG = {"l": list(range(100))}


def test_a_loop_that_runs_away_is_stopped() -> None:
    program = HERE.compile(NESTED)
    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate(LONG)


def work_of(program: Program, values: dict[str, Any], limit: int) -> int:
    """How many functions of Python an evaluation calls."""
    count = 0

    def observe(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before: Callable[..., Any] | None = sys.getprofile()
    sys.setprofile(observe)
    try:
        program.evaluate(values, limit=limit)
    except EvaluationFailed:
        pass
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "source",
    [
        NESTED,
        "l.map(a, l.map(b, l.map(c, l)))",
        "l.exists(a, l.exists(b, l.exists(c, string(a) + string(b) == 'x')))",
        "l.map(a, 'x').join('y').matches('(x|y)*(x|y)*z') || l.all(a, l.all(b, l.filter(c, c == a).size() > 2))",
        "l.transformMap(i, v, l.transformMap(j, w, l.transformMap(k, u, i + j + k)))",
        "cel.bind(a, l + l, cel.bind(b, a + a, cel.bind(c, b + b, c.map(i, c.map(j, i + j)))))",
    ],
)
def test_the_work_of_an_evaluation_is_bounded_by_its_limit(source: str) -> None:
    program = HERE.compile(source)
    assert work_of(program, LONG, 5_000) < 5_000 * 8
    assert work_of(program, LONG, 20_000) < 20_000 * 8


def test_doubling_a_text_does_not_fill_the_memory() -> None:
    doubled = "".join(f"cel.bind(v{n + 1}, v{n} + v{n}, " for n in range(40))
    source = f"cel.bind(v0, s, {doubled}v40.size() > 0{')' * 41}"
    with pytest.raises(CostExceeded):
        HERE.compile(source).evaluate(DATA)


def test_several_evaluations_share_a_budget() -> None:
    budget = Budget(100)
    program = HERE.compile("l.all(a, a >= 0)")
    program.evaluate({"l": list(range(10))}, budget)
    assert 0 < budget.remaining < 100
    with pytest.raises(BudgetExceeded, match="validation failed due to running out of cost budget"):
        program.evaluate(LONG, budget)


def test_an_object_type_of_ones_own_has_the_fields_that_it_names() -> None:
    request = object_of("kubernetes.AdmissionRequest", {"name": plain(t.STRING), "dryRun": plain(t.BOOL)})
    within = Environment({"request": request})
    assert within.compile("request.name == 'a' && !request.dryRun").evaluate(
        {"request": {"name": "a", "dryRun": False}}
    )
    with pytest.raises(CompileError, match="undefined field 'object'"):
        within.compile("request.object")
    assert within.compile("has(request.name)").evaluate({"request": {}}) is False
