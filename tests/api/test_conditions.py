"""Conditions move their transition time only when their status changes."""

from __future__ import annotations

from kontinuum.api.machinery.conditions import get_condition, is_true, remove_condition, set_condition

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def test_same_status_keeps_the_transition_time_but_takes_the_new_reason() -> None:
    first = set_condition(None, "Ready", True, now=EARLY, reason="A")
    second = set_condition(first, "Ready", True, now=LATE, reason="B")
    assert second == [{"type": "Ready", "status": "True", "lastTransitionTime": EARLY, "reason": "B"}]


def test_another_status_moves_the_transition_time_and_keeps_the_order() -> None:
    both = set_condition(set_condition([], "A", True, now=EARLY), "B", False, now=EARLY)
    changed = set_condition(both, "A", "Unknown", now=LATE, message="lost")
    assert [(c["type"], c["status"], c["lastTransitionTime"]) for c in changed] == [
        ("A", "Unknown", LATE),
        ("B", "False", EARLY),
    ]
    assert both[0]["status"] == "True", "the list that was passed in is not touched"


def test_a_kinds_own_fields_are_kept_where_nothing_new_is_said() -> None:
    first = set_condition(None, "Ready", True, now=EARLY, lastHeartbeatTime=EARLY)
    assert set_condition(first, "Ready", True, now=LATE, lastHeartbeatTime=None)[0]["lastHeartbeatTime"] == EARLY


def test_reading_conditions_of_an_object_without_any() -> None:
    assert get_condition({}, "Ready") is None
    assert not is_true({"status": {}}, "Ready")
    assert remove_condition([{"type": "A"}, {"type": "B"}], "A") == [{"type": "B"}]
