"""``x-kubernetes-validations``: what rules see, when they are asked, what they say, and what they may cost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.custom_kinds import kind_of, problems, texts

from kontinuum.api.kubernetes.custom import schema_rules

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
FILLED = {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}]}


def ruled(*rules: dict[str, Any] | str, **properties: Any) -> dict[str, Any]:
    """An object with rules."""
    fields = properties or {"litres": INTEGER, "most": INTEGER, "name": TEXT}
    return {"type": "object", "properties": fields, "x-kubernetes-validations": sources(*rules)}


def sources(*rules: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [one if isinstance(one, dict) else {"rule": one} for one in rules]


def test_a_rule_that_is_broken_is_named_where_it_stands() -> None:
    kind = kind_of(ruled("self.litres <= self.most"))
    assert problems(kind, {"litres": 1, "most": 2}) == []
    assert problems(kind, {"litres": 3, "most": 2}) == [
        'spec: Invalid value: "object": failed rule: self.litres <= self.most'
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"message": " too much "}, 'spec: Invalid value: "object": too much'),
        ({"reason": "FieldValueForbidden", "message": "no"}, "spec: Forbidden: no"),
        ({"reason": "FieldValueRequired", "message": "no"}, "spec: Required value: no"),
        ({"reason": "FieldValueDuplicate"}, 'spec: Duplicate value: "object"'),
        ({"fieldPath": ".litres", "message": "no"}, 'spec.litres: Invalid value: "object": no'),
        ({"messageExpression": "'%d is too much'.format([self.litres])"},
         'spec: Invalid value: "object": 3 is too much'),
        ({"messageExpression": "self.name", "message": "plain"}, 'spec: Invalid value: "object": plain'),
        ({"messageExpression": "'two\\nlines'", "message": "plain"}, 'spec: Invalid value: "object": plain'),
        ({"messageExpression": "'  '"}, 'spec: Invalid value: "object": failed rule: self.litres <= self.most'),
    ],
)  # fmt: skip
def test_a_rule_says_what_its_author_wants(rule: dict[str, Any], said: str) -> None:
    kind = kind_of(ruled({"rule": "self.litres <= self.most", **rule}))
    assert problems(kind, {"litres": 3, "most": 2}) == [said]


def test_rules_stand_beside_every_kind_of_value() -> None:
    item = {"type": "object", "properties": {"n": {**INTEGER, "x-kubernetes-validations": sources("self > 0")}}}
    kind = kind_of({
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": item, "x-kubernetes-validations": sources("self.all(x, x.n < 9)")},
            "map": {"type": "object", "additionalProperties": FILLED},
        },
    })  # fmt: skip
    assert problems(kind, {"list": [{"n": 1}, {"n": 0}], "map": {"a": "", "b": "x"}}) == [
        'spec.list[1].n: Invalid value: "integer": failed rule: self > 0',
        "spec.map[a]: Invalid value: \"string\": failed rule: self != ''",
    ]
    assert problems(kind, {"list": [{"n": 10}]}) == [
        'spec.list: Invalid value: "array": failed rule: self.all(x, x.n < 9)'
    ]


def test_transition_rules_are_asked_where_there_is_an_old_value() -> None:
    kind = kind_of(ruled("self.litres >= oldSelf.litres"))
    assert problems(kind, {"litres": 1}) == []
    assert problems(kind, {"litres": 1}, {"litres": 1}) == []
    assert problems(kind, {"litres": 1}, {"litres": 2}) == [
        'spec: Invalid value: "object": failed rule: self.litres >= oldSelf.litres'
    ]


def test_optional_old_values_let_transition_rules_see_creations() -> None:
    rule = {"rule": "!oldSelf.hasValue() || self.litres >= oldSelf.value().litres", "optionalOldSelf": True}
    kind = kind_of(ruled(rule, "self.litres > 0"))
    assert problems(kind, {"litres": 1}) == []
    assert len(problems(kind, {"litres": 1}, {"litres": 2})) == 1
    created = {"rule": "oldSelf.hasValue() || self.litres == 1", "optionalOldSelf": True}
    kind = kind_of(ruled(created))
    assert len(problems(kind, {"litres": 2})) == 1
    assert problems(kind, {"litres": 2}, {"litres": 1}) == []


def test_elements_of_map_lists_are_compared_with_those_of_the_same_key() -> None:
    item = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "n": INTEGER},
            "x-kubernetes-validations": sources("self.n >= oldSelf.n")}  # fmt: skip
    listed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    kind = kind_of({"type": "object", "properties": {"list": listed}})
    old = {"list": [{"k": "a", "n": 1}, {"k": "b", "n": 5}]}
    assert problems(kind, {"list": [{"k": "b", "n": 5}, {"k": "c", "n": 0}, {"k": "a", "n": 2}]}, old) == []
    assert problems(kind, {"list": [{"k": "b", "n": 4}]}, old) == [
        'spec.list[0]: Invalid value: "object": failed rule: self.n >= oldSelf.n'
    ]


def test_what_was_wrong_before_and_has_not_changed_passes() -> None:
    inner = {**ruled("self.litres <= self.most"), "x-kubernetes-validations": sources("self.litres <= self.most")}
    kind = kind_of({
        "type": "object",
        "properties": {"inner": inner, "note": {"type": "string", "maxLength": 3}, "count": {**INTEGER, "maximum": 5}},
        "x-kubernetes-validations": sources("!has(self.note) || self.note != 'bad'"),
    })  # fmt: skip
    broken = {"inner": {"litres": 9, "most": 1}, "count": 7}
    assert len(problems(kind, broken)) == 2
    assert problems(kind, broken | {"note": "new"}, broken) == []
    assert problems(kind, broken | {"note": "bad"}, broken) == [
        "spec: Invalid value: \"object\": failed rule: !has(self.note) || self.note != 'bad'"
    ]
    assert problems(kind, {"inner": {"litres": 8, "most": 1}, "count": 7}, broken) == [
        'spec.inner: Invalid value: "object": failed rule: self.litres <= self.most'
    ]
    assert problems(kind, {"inner": {"litres": 9, "most": 1}, "count": 8}, broken) == [
        "spec.count: Invalid value: 8: spec.count in body should be less than or equal to 5"
    ]


def test_rules_wait_until_what_they_look_at_is_there_and_of_its_type() -> None:
    spec = ruled("self.litres > 0") | {"required": ["litres"]}
    assert problems(kind_of(spec), {}) == [
        "spec.litres: Required value",
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    ]


def test_a_rule_that_has_no_answer_is_broken() -> None:
    kind = kind_of(ruled("self.litres / self.most > 0", "self.name == 'x'"))
    assert problems(kind, {"litres": 1, "most": 0, "name": "x"}) == [
        'spec: Invalid value: "object": division by zero evaluating rule: self.litres / self.most > 0'
    ]
    assert problems(kind, {"litres": 1, "most": 1}) == [
        "spec: Invalid value: \"object\": no such key: name evaluating rule: self.name == 'x'"
    ]


def test_rules_at_the_root_see_names_and_nothing_else_of_the_metadata() -> None:
    kind = kind_of(INTEGER)
    assert kind.schema.source["type"] == "object"
    root = {"type": "object", "properties": {"spec": INTEGER},
            "x-kubernetes-validations": sources("self.metadata.name == 'b' && self.kind == 'Pond'")}  # fmt: skip
    errors = schema_rules.check(root, "p", has_status=False, is_same=False)
    assert errors == []
    blind = root | {"x-kubernetes-validations": sources("self.metadata.labels.size() == 0")}
    (error,) = texts(schema_rules.check(blind, "p", has_status=False, is_same=False))
    assert error.startswith("p.x-kubernetes-validations[0].rule: Invalid value: ")
    assert "compilation failed: ERROR: <input>:1:14: undefined field 'labels'" in error


def definition_problems(spec: dict[str, Any]) -> list[str]:
    source = {"type": "object", "properties": {"spec": spec}}
    return texts(schema_rules.check(source, "p", has_status=False, is_same=False))


@pytest.mark.parametrize(
    ("rule", "field", "problem"),
    [
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "self.litres"}, "rule", "cel expression must evaluate to a bool"),
        ({"rule": "self.depth > 1"}, "rule", "compilation failed: ERROR: <input>:1:5: undefined field 'depth'"),
        ({"rule": "true", "message": " "}, "message", "message must be non-empty if specified"),
        ({"rule": "true", "message": "a\nb"}, "message", "message must not contain line breaks"),
        ({"rule": "true &&\ntrue"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression",
         "messageExpression must evaluate to a string"),
        ({"rule": "true", "messageExpression": "self.depth"}, "messageExpression",
         "messageExpression compilation failed: ERROR"),
        ({"rule": "true", "reason": "Because"}, "reason", "supported values: \"FieldValueDuplicate\""),
        ({"rule": "true", "fieldPath": ".depth"}, "fieldPath", "fieldPath must be a valid path"),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_is_said_when_it_is_defined(rule: dict[str, Any], field: str, problem: str) -> None:
    (found,) = definition_problems(ruled(rule))
    assert found.startswith(f"p.properties[spec].x-kubernetes-validations[0].{field}: ")
    assert problem in found


def test_old_values_cannot_be_asked_for_where_nobody_knows_which_they_are() -> None:
    item = {**INTEGER, "x-kubernetes-validations": sources("self >= oldSelf")}
    spec = {"type": "object", "properties": {"list": {"type": "array", "maxItems": 3, "items": item}}}
    (found,) = definition_problems(spec)
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within p.properties[spec]" in found


def test_rules_that_could_cost_too_much_are_refused_until_sizes_are_bounded() -> None:
    def spec(**bounds: int) -> dict[str, Any]:
        item = {"type": "string", **({"maxLength": bounds["length"]} if "length" in bounds else {})}
        rule = sources("self.all(x, self.all(y, x == y || x.contains(y)))")
        listed = {"type": "array", "items": item, "x-kubernetes-validations": rule}
        if "items" in bounds:
            listed["maxItems"] = bounds["items"]
        return {"type": "object", "properties": {"list": listed}}

    found = definition_problems(spec())
    assert found[0] == (
        "p.properties[spec].properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds "
        "budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )
    assert "estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in found[-1]
    assert definition_problems(spec(items=20, length=20)) == []


def test_a_rule_costs_as_often_as_the_list_above_it_is_long() -> None:
    def spec(**limit: int) -> dict[str, Any]:
        item = ruled("self.name.contains('aaaaaaaaaaaaaaaaaaaa')", name={"type": "string", "maxLength": 1000})
        return {"type": "object", "properties": {"list": {"type": "array", "items": item, **limit}}}

    assert definition_problems(spec(maxItems=100)) == []
    (found,) = definition_problems(spec(maxItems=100_000))
    assert "estimated rule cost exceeds budget by factor of" in found
    assert definition_problems(spec()), "without a bound a request's size is one"


def test_an_evaluation_that_costs_too_much_is_stopped_and_no_other_rule_is_asked() -> None:
    loops = "self.list.all(x, self.list.all(y, self.list.all(z, x + y + z > 0)))"
    spec = ruled(loops, "false", list={"type": "array", "items": INTEGER})
    (found,) = problems(kind_of(spec), {"list": list(range(1, 200))})
    assert "actual cost limit exceeded" in found and "no further validation rules will be run" in found


def test_defaults_are_held_against_the_rules() -> None:
    spec = {"type": "object", "properties": {"n": {**INTEGER, "default": 0,
            "x-kubernetes-validations": sources("self > 0")}}}  # fmt: skip
    (found,) = definition_problems(spec)
    assert found.startswith("p.properties[spec].properties[n].default: Invalid value")


def test_names_that_expressions_cannot_write_are_escaped() -> None:
    spec = ruled("self.a__dash__b == 1 && self.__in__ == 'x'", **{"a-b": INTEGER, "in": TEXT})
    assert definition_problems(spec) == []
    assert problems(kind_of(spec), {"a-b": 1, "in": "x"}) == []
