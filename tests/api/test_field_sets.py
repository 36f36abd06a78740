"""Sets of field paths behave as sets, in the form in which managedFields hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.machinery import fieldsets
from kontinuum.api.machinery.fieldsets import BadFields, Fields

STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "i:0"])
Paths = frozenset[tuple[str, ...]]
PATHS = st.frozensets(st.lists(STEPS, min_size=1, max_size=3).map(tuple), max_size=8)


def make(paths: Paths) -> Fields:
    fields: Fields = {}
    for path in paths:
        single: Fields = {}
        for step in reversed(path):
            single = {step: single}
        fields = fieldsets.union(fields, single)
    return fields


def members(fields: Fields) -> Paths:
    return frozenset(fieldsets.paths(fields))


@given(PATHS, PATHS)
def test_the_arithmetic_is_that_of_sets_of_paths(one: Paths, other: Paths) -> None:
    first, second = make(one), make(other)
    assert members(first) == one
    assert members(fieldsets.union(first, second)) == one | other
    assert members(fieldsets.intersection(first, second)) == one & other
    assert members(fieldsets.difference(first, second)) == one - other


@given(PATHS, PATHS)
def test_equal_sets_are_equal_values(one: Paths, other: Paths) -> None:
    first, second = make(one), make(other)
    assert fieldsets.union(first, second) == make(one | other)
    assert fieldsets.intersection(first, second) == make(one & other)
    assert fieldsets.difference(first, second) == make(one - other)
    assert fieldsets.decode(fieldsets.encode(first)) == first


@given(PATHS, PATHS)
def test_without_takes_everything_below_a_prefix(one: Paths, prefixes: Paths) -> None:
    left = {path for path in one if not any(path[: len(prefix)] == prefix for prefix in prefixes)}
    assert fieldsets.without(make(one), make(prefixes)) == make(frozenset(left))


def test_paths_read_as_people_write_them() -> None:
    path = ("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', "f:hostPort", 'v:"x"', "i:3")
    assert fieldsets.as_text(path) == '.spec[containerPort=80,protocol="TCP"].hostPort[="x"][3]'


def test_what_others_write_is_brought_into_one_form() -> None:
    assert fieldsets.decode({'k:{"b": 1, "a": 2}': {".": {}}}) == {'k:{"a":2,"b":1}': {}}


@pytest.mark.parametrize("raw", [[], {"spec": {}}, {"x:a": {}}, {"k:nothing": {}}, {"k:1": {}}, {"i:true": {}}])
def test_what_is_no_field_set_is_refused(raw: object) -> None:
    with pytest.raises(BadFields):
        fieldsets.decode(raw)
