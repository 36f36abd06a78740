"""Small pure rules: which pod goes first, what tolerates what, and names that follow from what they stand for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.api.kubernetes.tolerations import tolerates
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.controllers.lib.names import child_name, template_hash
from kontinuum.controllers.lib.pods import deletion_order
from kontinuum.controllers.lib.taints import seconds_tolerated, taints_for
from kontinuum.controllers.lib.templates import same_template
from kontinuum.foundation.clock import rfc3339

NOW = 1_700_000_000.0
TAINT = {"key": "k", "value": "v", "effect": "NoExecute"}


def pod(name: str, *, node: str = "n", phase: str = "Running", ready: float | None = 100, **more: Any) -> Object:
    conditions = []
    if ready is not None:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - ready)}]
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": rfc3339(NOW - more.get("age", 1000)),
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": more.get("cost", "0")},
        },
        "spec": {"nodeName": node},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"restartCount": more.get("restarts", 0)}],
        },
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("x", node=""), pod("y", phase="Pending", ready=None)),
        (pod("x", phase="Pending", ready=None), pod("y", phase="Unknown", ready=None)),
        (pod("x", phase="Unknown"), pod("y", ready=None)),
        (pod("x", ready=None, cost="100"), pod("y", cost="0")),
        (pod("x", cost="-5", node="lonely"), pod("y", cost="0", node="crowded")),
        (pod("x", node="crowded", ready=500), pod("y", node="lonely", ready=5)),
        (pod("x", ready=5), pod("y", ready=500, restarts=9)),
        (pod("x", restarts=3, age=2000), pod("y", restarts=1, age=1000)),
        (pod("x", age=1000), pod("y", age=2000)),
        (pod("x", cost="nonsense", ready=5), pod("y", cost="0", ready=50)),
    ],
)
def test_of_two_surplus_pods_kubernetes_choice_goes_first(first: Object, second: Object) -> None:
    crowd = [pod("a", node="crowded"), pod("b", node="crowded"), pod("c", node="lonely")]
    for pods in ([first, second], [second, first]):
        assert [name_of(one) for one in deletion_order(pods, crowd, NOW)] == ["x", "y"]


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "other"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, False),
        ({"value": "v"}, False),
    ],
)
def test_a_toleration_tolerates_what_it_names(toleration: Object, expected: bool) -> None:
    assert tolerates(toleration, TAINT) is expected


def test_the_shortest_of_several_patiences_counts_and_a_taint_nobody_tolerates_counts_at_once() -> None:
    def patience(*seconds: int | None) -> float | None:
        tolerations = [{"key": "k", "operator": "Exists", "tolerationSeconds": one} for one in seconds]
        return seconds_tolerated({"spec": {"tolerations": tolerations}}, TAINT)

    assert patience(60, 20) == 20
    assert patience(60, None) is None
    assert patience() == 0
    assert patience(-5) == 0


def test_taints_of_others_stay_and_ours_keep_their_age() -> None:
    theirs = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
    ours = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2020-01-01T00:00:00Z"}
    node = {"spec": {"taints": [theirs, ours]}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    taints = taints_for(node, evict=True, now="2021-01-01T00:00:00Z")
    assert theirs in taints and ours in taints and len(taints) == 3
    assert ours not in taints_for(node, evict=False, now="2021-01-01T00:00:00Z")


TEMPLATES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(TEMPLATES, st.integers(0, 2))
def test_a_template_hash_is_a_label_and_does_not_depend_on_the_order_of_keys(template: Any, collisions: int) -> None:
    digest = template_hash({"spec": template, "metadata": {}}, collisions)
    assert 1 <= len(digest) <= 10 and set(digest) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert digest == template_hash({"metadata": {}, "spec": template}, collisions)


def test_collisions_and_templates_change_the_hash() -> None:
    digests = {template_hash({"spec": {"image": image}}, count) for image in "ab" for count in range(3)}
    assert len(digests) == 6


def test_null_and_absent_are_the_same_template_and_the_hash_label_is_no_difference() -> None:
    plain = {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}
    written = {
        "metadata": {"creationTimestamp": None, "labels": {"a": "b", "pod-template-hash": "h"}},
        "spec": {"x": 1},
    }
    assert same_template(plain, written)
    assert not same_template(plain, {**plain, "spec": {"x": 2}})


def test_children_of_one_life_have_names_of_their_own_that_fit_and_can_be_told_again() -> None:
    names = {child_name("p" * 100, uid, ordinal) for uid in ("u1", "u2") for ordinal in range(100)}
    assert len(names) == 200
    assert max(map(len, names)) == 63
    assert child_name("web", "u1", 7) == child_name("web", "u1", 7)
