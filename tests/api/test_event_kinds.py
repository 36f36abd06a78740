"""Events: two forms of one thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.kinds import changed, problems, row

from kontinuum.api.kubernetes import resources as r
from kontinuum.api.kubernetes.conversion.events import NAMES, from_core, to_core

NEW = {
    "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-0",
    "action": "Doing", "reason": "Done", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default"},
}  # fmt: skip


def old(**more: Any) -> dict[str, Any]:
    return {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, **more}


@given(st.dictionaries(st.sampled_from([*NAMES, "metadata", "reason", "series", "type"]), st.integers()))
def test_nothing_is_lost_between_the_forms(event: dict[str, Any]) -> None:
    there = from_core({**event, "kind": "Event", "apiVersion": "v1"})
    assert there["apiVersion"] == "events.k8s.io/v1" and not there.keys() & NAMES.keys()
    assert to_core(there) == {**event, "kind": "Event", "apiVersion": "v1"}


def test_good_events_have_no_problems() -> None:
    assert problems(r.EVENTS, old()) == []
    assert problems(r.EVENTS_V1, NEW) == []


@pytest.mark.parametrize(
    ("resource", "obj", "expected"),
    [
        (r.EVENTS, {"involvedObject": {"namespace": "other"}},
         'involvedObject.namespace: Invalid value: "other": does not match event.namespace'),
        (r.EVENTS_V1, {**NEW, "type": "Odd"}, 'type: Invalid value: "": has invalid value: Odd'),
        (r.EVENTS_V1, {**NEW, "deprecatedCount": 3}, 'count: Invalid value: "": needs to be unset'),
        (r.EVENTS_V1, {**NEW, "series": {"count": 1, "lastObservedTime": "t"}},
         'series.count: Invalid value: "": should be at least 2'),
        (r.EVENTS_V1, {**NEW, "action": ""}, "action: Required value"),
        (r.EVENTS_V1, {**NEW, "note": "a" * 1025}, 'message: Invalid value: "": can have at most 1024 characters'),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused(resource: Any, obj: dict[str, Any], expected: str) -> None:
    assert problems(resource, obj) == [expected]


def test_only_the_older_form_lets_what_was_said_be_changed() -> None:
    assert changed(r.EVENTS, old(message="b"), old(message="a"))[1] == []
    assert changed(r.EVENTS_V1, {**NEW, "note": "b"}, NEW)[1] == ['message: Invalid value: "b": field is immutable']
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}
    assert changed(r.EVENTS_V1, {**NEW, "series": series}, NEW)[1] == []


def test_both_forms_have_the_same_table() -> None:
    shown = row(r.EVENTS_V1, {**NEW, "regarding": {"kind": "Pod", "name": "p"}, "note": " text "})
    assert (shown["Object"], shown["Message"], shown["Source"]) == ("pod/p", "text", "example.com/c, c-0")
    assert row(r.EVENTS, {"involvedObject": {"kind": "Node"}})["Object"] == "node"
