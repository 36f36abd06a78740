"""Selectors mean what they mean in Kubernetes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.machinery import selectors
from kontinuum.api.machinery.status import ApiError

WORDS = st.text("abc", min_size=1, max_size=2)
LABELS = st.dictionaries(WORDS, WORDS, max_size=4)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app=web", {"app": "db"}, False),
        ("app=web", {}, False),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": ""}, False),
        ("!app", {}, True),
        ("app in (a, b)", {"app": "b"}, True),
        ("app in (a, b),tier=x", {"app": "b"}, False),
        ("app notin (a)", {"app": "a"}, False),
        ("app notin (a)", {}, True),
        ("app in (a,)", {"app": ""}, True),
        ("app=", {"app": ""}, True),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "6"}, False),
        ("n>5", {"n": "many"}, False),
        ("example.com/a-b.c_d=1", {"example.com/a-b.c_d": "1"}, True),
    ],
)
def test_label_selector_text(text: str, labels: dict[str, str], matches: bool) -> None:
    assert selectors.parse_labels(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["a=b,", ",a", "a in b", "a in (b", "a b", "=b", "a=b=c", "a>x", "!", "a in (b c)"])
def test_text_that_is_no_selector_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_labels(text)
    assert caught.value.code == 400


def test_absent_selector_object_matches_nothing_and_an_empty_one_everything() -> None:
    assert not selectors.from_object(None).matches({"a": "b"})
    assert selectors.from_object({}).matches({"a": "b"})


def test_selector_object_combines_labels_and_expressions() -> None:
    selector = selectors.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "canary", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches({"app": "web", "tier": "b"})
    assert not selector.matches({"app": "web", "tier": "b", "canary": ""})
    assert str(selector) == "app=web,!canary,tier in (a,b)"


def test_field_selectors_unescape_their_values() -> None:
    selector = selectors.parse_fields(r"metadata.name=a\,b,status.phase!=Running")
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Pending"})
    assert selector.exact("metadata.name") == "a,b"
    with pytest.raises(ApiError):
        selectors.parse_fields("metadata.name")


@given(LABELS, LABELS)
def test_a_selector_written_as_text_matches_the_same_labels(wanted: dict[str, str], labels: dict[str, str]) -> None:
    selector = selectors.from_object({"matchLabels": wanted})
    again = selectors.parse_labels(str(selector))
    assert again == selector
    assert again.matches(labels) == (wanted.items() <= labels.items())
