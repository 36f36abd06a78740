"""What selectors look at is read without decoding the rest, and reads the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.kinds import KINDS
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.kubernetes.schema import Type
from kontinuum.apiserver.projection import projection_of

SELECTABLE = {kind.resource.qualified: kind for kind in KINDS.values() if kind.selectable}
DEEP = 4


def filled(fields: Mapping[str, Type], path: str = "", depth: int = 0) -> dict[str, Any]:
    """An object with a text of its own in every plain field, so that a field that is not read is seen to be missing."""
    found: dict[str, Any] = {}
    for name, kind in fields.items():
        below = f"{path}.{name}"
        if kind.definition and depth < DEEP:
            found[name] = filled(kind.fields, below, depth + 1)
        elif kind.form not in ("object", "list", "map"):
            found[name] = below
    return found


@pytest.mark.parametrize("kind", SELECTABLE.values(), ids=SELECTABLE)
def test_a_projection_holds_all_that_the_fields_of_a_kind_are_made_of(kind: Kind) -> None:
    obj = filled(kind.definition.fields)
    obj["metadata"] |= {"name": "n", "namespace": "d", "labels": {"a": "b"}}
    project = projection_of(kind.read_for_selection or kind.selectable)
    assert kind.fields(project(orjson.dumps(obj))) == kind.fields(obj)
    assert any(kind.fields(obj).values())


plain = st.none() | st.booleans() | st.sampled_from([0, "text", [1], {}])
shallow = plain | st.dictionaries(st.sampled_from("abc"), plain, max_size=3)
values = shallow | st.dictionaries(st.sampled_from("abc"), shallow, max_size=3)


@given(st.dictionaries(st.sampled_from("abc"), values), st.lists(st.sampled_from(["a", "a.b", "a.b.c", "b.c"])))
def test_a_projection_reads_chosen_paths_as_a_full_decode_does(obj: dict[str, Any], paths: list[str]) -> None:
    body = {**obj, "metadata": {"labels": {"x": "y"}}}
    found = projection_of(paths)(orjson.dumps(body))
    assert found["metadata"]["labels"] == {"x": "y"}
    for path in paths:
        assert at(found, path) == at(body, path)


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
