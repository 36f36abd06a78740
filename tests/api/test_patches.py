"""JSON patch and JSON merge patch do what their RFCs say, and never touch what they are given."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kontinuum.api.machinery.patches import copy, json_patch, merge_patch
from kontinuum.api.machinery.status import ApiError

KEYS = st.text("abc", min_size=1, max_size=2)
PLAIN = st.none() | st.booleans() | st.integers(-5, 5) | st.text("xy", max_size=2)
VALUES: st.SearchStrategy[Any] = st.recursive(
    PLAIN, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_rfc_7386_hold(doc: Any, patch: Any, result: Any) -> None:
    assert merge_patch(doc, patch) == result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_applied_twice_changes_nothing_more(doc: Any, patch: Any) -> None:
    once = merge_patch(doc, patch)
    assert merge_patch(once, patch) == once


@given(OBJECTS, OBJECTS)
def test_patching_leaves_its_input_alone_and_shares_nothing_with_it(doc: Any, patch: Any) -> None:
    before, patch_before = copy(doc), copy(patch)
    result = merge_patch(doc, patch)
    for value in result.values():
        if isinstance(value, dict):
            value["changed"] = True
        if isinstance(value, list):
            value.append("changed")
    assert (doc, patch) == (before, patch_before)


@pytest.mark.parametrize(
    ("doc", "operations", "result"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": "b"}], {"foo": ["a", "b"]}),
        ({"foo": ["a", "b"]}, [{"op": "remove", "path": "/foo/0"}], {"foo": ["b"]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": {"b": 2}}], {"a": {"b": 2}}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "m~n": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
        ({"a": 1}, [{"op": "test", "path": "/missing", "value": None}], {"a": 1}),
    ],
)
def test_json_patch_operations(doc: Any, operations: Any, result: Any) -> None:
    before = copy(doc)
    assert json_patch(doc, operations) == result
    assert doc == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/flag", "value": 1},
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
        {"op": "add", "path": "/list/-3", "value": 1},
        {"op": "remove", "path": "/list/x"},
        {"op": "add", "path": "/a/below", "value": 1},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "shout", "path": "/a"},
    ],
)
def test_an_operation_that_does_not_apply_is_unprocessable(operation: Any) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1, "list": [1], "flag": True}, [operation])
    assert caught.value.code == 422


def test_a_body_that_is_no_list_of_operations_is_a_bad_request() -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({}, {"op": "add"})
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
        ({"op": "remove", "path": "/b"},
         "error in remove for path: '/b': unable to remove nonexistent key: b: missing value"),
        ({"op": "replace", "path": "/b", "value": 1},
         "replace operation does not apply: doc is missing key: /b: missing value"),
        ({"op": "add", "path": "/b/c", "value": 1},
         'add operation does not apply: doc is missing path: "/b/c": missing value'),
        ({"op": "shout", "path": "/a"}, "Unexpected kind: shout"),
        ({"op": ["add"], "path": "/a"}, "Unexpected kind: unknown"),
        ({"path": "/a"}, "Unexpected kind: unknown"),
        ({"op": "remove", "path": ""}, "the patch removes the document itself: missing value"),
    ],
)  # fmt: skip
def test_what_does_not_apply_is_said_in_kubernetes_words(operation: Any, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, [operation])
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert [cause.message for cause in caught.value.causes] == [words]


def test_a_negative_index_counts_from_the_end() -> None:
    assert json_patch({"l": [1, 2]}, [{"op": "remove", "path": "/l/-1"}]) == {"l": [1]}
    assert json_patch({"l": [1, 2]}, [{"op": "add", "path": "/l/-1", "value": 3}]) == {"l": [1, 2, 3]}


def test_a_patch_is_neither_endless_nor_does_it_multiply() -> None:
    operation = {"op": "test", "path": "/a", "value": 1}
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, [operation] * 10_001)
    assert caught.value.code == 413 and "maximum operations in a JSON patch is 10000, got 10001" in caught.value.message
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(60)]
    with pytest.raises(ApiError) as caught:
        json_patch({"a": {"x": "y" * 100}}, doubling)
    assert caught.value.code == 422 and "exceeding the limit" in caught.value.causes[0].message


POINTERS = st.lists(KEYS | st.sampled_from(["0", "1", "2", "-"]), max_size=3).map(
    lambda steps: "".join(f"/{s}" for s in steps)
)
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTERS,
        "from": POINTERS,
        "value": VALUES,
    }
)


@given(OBJECTS, st.lists(OPERATIONS, max_size=4))
def test_a_second_library_comes_to_the_same(doc: Any, operations: Any) -> None:
    # Kubernetes reads a missing value as null in a test, and replaces or removes the whole document in its own way.
    assume(not any(one["path"] == "" or one["from"] == "" for one in operations))
    assume(not any(one["op"] == "test" and one["value"] is None for one in operations))
    try:
        expected = jsonpatch.apply_patch(copy(doc), operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
        expected = None
    try:
        found = json_patch(doc, operations)
    except ApiError as error:
        assert error.code == 422
        found = None
    assert found == expected


@given(OBJECTS, OBJECTS)
def test_what_a_second_library_finds_different_is_patched(old: Any, new: Any) -> None:
    assert json_patch(old, jsonpatch.make_patch(old, new).patch) == new
