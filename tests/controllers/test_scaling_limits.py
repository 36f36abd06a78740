"""How fast and how far: the documented examples of scaling policies, and what must never happen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kontinuum.api.machinery.objects import Object
from kontinuum.controllers.lib.scaling_limits import Behavior, History, Rules, behavior_of, limit, tolerance_of

STEP = 15.0


def autoscaler(**behavior: Any) -> Object:
    return {"spec": {"behavior": behavior} if behavior else {}}


def course(wanted: list[int], start: int, *, most: int = 10_000, step: float = STEP, **behavior: Any) -> list[int]:
    """The replicas after each look at what is ``wanted``."""
    rules, history, now, replicas = behavior_of(autoscaler(**behavior), 300), History(), 1000.0, start
    found = []
    for number in wanted:
        verdict = limit(number, replicas, (1, most), rules, history, now, down_window=300)
        history.recommend(now, number)
        history.scale(now, verdict.replicas - replicas)
        replicas = verdict.replicas
        found.append(replicas)
        now += step
    return found


def policy(kind: str, value: int, period: int = 60) -> Object:
    return {"type": kind, "value": value, "periodSeconds": period}


def test_shrinking_follows_the_policy_that_allows_more() -> None:
    """The website's example: of 80, ten per cent go a minute, rounded up; below 40, four pods do."""
    rules = {"policies": [policy("Pods", 4), policy("Percent", 10)], "stabilizationWindowSeconds": 0}
    assert course([10] * 12, 80, step=60, scaleDown=rules) == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16]


def test_shrinking_may_be_slowed_to_the_policy_that_allows_less() -> None:
    policies = [policy("Percent", 10), policy("Pods", 5)]
    rules = {"policies": policies, "selectPolicy": "Min", "stabilizationWindowSeconds": 0}
    assert course([1] * 4, 100, step=60, scaleDown=rules) == [95, 90, 85, 80]


def test_growing_as_fast_as_possible() -> None:
    """KEP-853, story 1: 900 % a minute."""
    assert course([1000] * 3, 1, step=60, scaleUp={"policies": [policy("Percent", 900)]}) == [10, 100, 1000]


def test_growing_by_one_pod_a_minute() -> None:
    """KEP-853, story 3. Looks in between change nothing."""
    rules = {"policies": [policy("Pods", 1)]}
    assert course([9] * 9, 1, scaleUp=rules) == [2, 2, 2, 2, 3, 3, 3, 3, 4]


def test_a_direction_may_be_closed() -> None:
    closed = {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}
    assert course([1, 20], 10, scaleDown=closed) == [10, 20]
    assert course([20, 1], 10, scaleUp=closed, scaleDown={"stabilizationWindowSeconds": 0}) == [10, 1]


def test_without_a_word_it_may_double_or_grow_to_four_and_shrinks_after_five_minutes() -> None:
    assert course([100] * 4, 1, most=50) == [4, 8, 16, 32]
    looks = course([2] * 22, 10)
    assert looks == [2] * 22  # Nobody ever recommended more.
    assert course([10, *[2] * 22], 10)[:21] == [10] * 21
    assert course([10, *[2] * 22], 10)[21:] == [2, 2]


def test_windows_hold_back_both_directions() -> None:
    up = {"stabilizationWindowSeconds": 60}
    assert course([2, 9, 9, 9, 9, 9], 2, scaleUp=up) == [2, 2, 2, 2, 6, 9]


def test_reasons_are_kubernetes_own() -> None:
    def reasons(wanted: int, current: int, bounds: tuple[int, int], behavior: Behavior | None) -> tuple[str, str, bool]:
        verdict = limit(wanted, current, bounds, behavior, History([(0.0, 8)]), 10.0, down_window=300)
        return verdict.able[0], verdict.limited[0], verdict.is_limited

    quick = behavior_of(autoscaler(scaleDown={"policies": [policy("Pods", 1)], "stabilizationWindowSeconds": 0}), 300)
    slow = behavior_of(autoscaler(scaleUp={"stabilizationWindowSeconds": 60}), 300)
    assert reasons(9, 8, (1, 20), None) == ("ReadyForNewScale", "DesiredWithinRange", False)
    assert reasons(3, 8, (1, 20), None) == ("ScaleDownStabilized", "DesiredWithinRange", False)
    assert reasons(90, 8, (1, 20), None) == ("ReadyForNewScale", "ScaleUpLimit", True)
    assert reasons(15, 8, (1, 10), None) == ("ReadyForNewScale", "TooManyReplicas", True)
    assert reasons(1, 8, (9, 10), None)[1:] == ("TooFewReplicas", True)
    assert reasons(3, 8, (1, 20), quick) == ("ReadyForNewScale", "ScaleDownLimit", True)
    assert reasons(7, 8, (8, 20), quick) == ("ReadyForNewScale", "TooFewReplicas", True)
    assert reasons(90, 8, (1, 90), quick) == ("ReadyForNewScale", "ScaleUpLimit", True)
    assert reasons(9, 8, (1, 20), slow)[0] == "ScaleUpStabilized"


def test_tolerances_are_the_clusters_unless_said() -> None:
    said = tolerance_of(autoscaler(scaleUp={"tolerance": "20m"}), 0.1)
    assert (said.down, said.up) == (0.1, 0.02)


POLICIES = st.lists(
    st.builds(
        policy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.sampled_from([15, 30, 60, 100])
    ),
    min_size=1, max_size=3,
)  # fmt: skip
RULES = st.fixed_dictionaries({
    "policies": POLICIES,
    "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
    "stabilizationWindowSeconds": st.sampled_from([0, 15, 45, 300]),
})  # fmt: skip


def fastest(rules: Rules, log: list[tuple[float, int]], now: float, *, up: bool) -> int:
    """What the policies allow, from how many there were when each period began."""
    current = log[-1][1]
    allowed = []
    for one in rules.policies:
        start = next((count for at, count in reversed(log) if at <= now - one.period), log[0][1])
        if one.is_percent:
            # In floating point and in this order, as Kubernetes computes it: 30 less 80 % are 5.999..., and so 5.
            share = one.value / 100
            allowed.append(math.ceil(start * (1 + share)) if up else math.trunc(start * (1 - share)))
        else:
            allowed.append(start + one.value if up else start - one.value)
    if rules.select == "Disabled":
        return current
    return (max if (rules.select == "Max") == up else min)(allowed)


def at_once(policy: str, value: int) -> Object:
    return {
        "policies": [{"type": policy, "value": value, "periodSeconds": 15}],
        "selectPolicy": "Max",
        "stabilizationWindowSeconds": 0,
    }


@example(up=at_once("Pods", 1), down=at_once("Percent", 80), looks=[(0, 1.0)], least=3, span=54)
@given(
    RULES, RULES, st.lists(st.tuples(st.integers(0, 120), st.sampled_from([1.0, 15.0, 15.0, 40.0])), max_size=25),
    st.integers(3, 20), st.integers(0, 60),
)  # fmt: skip
def test_never_out_of_bounds_never_faster_than_allowed_never_before_the_window(
    up: Object, down: Object, looks: list[tuple[int, float]], least: int, span: int
) -> None:
    rules = behavior_of(autoscaler(scaleUp=up, scaleDown=down), 300)
    assert rules is not None
    bounds = (least, least + span)
    history, now = History(), 1000.0
    log = [(0.0, least + span // 2)]
    asked: list[tuple[float, int]] = []
    for wanted, pause in looks:
        now += pause
        before = log[-1][1]
        after = limit(wanted, before, bounds, rules, history, now, down_window=300).replicas
        asked.append((now, wanted))
        history.recommend(now, wanted)
        history.scale(now, after - before)
        assert bounds[0] <= after <= bounds[1]
        if after > before:
            assert after <= max(before, fastest(rules.up, log, now, up=True))
            assert after <= max(bounds[0], min(n for at, n in asked if at > now - rules.up.window or at == now))
        if after < before:
            assert after >= min(before, fastest(rules.down, log, now, up=False))
            assert after >= min(bounds[1], max(n for at, n in asked if at > now - rules.down.window or at == now))
        log.append((now, after))


@pytest.mark.parametrize("wanted", [0, 1, 5, 100])
def test_bounds_hold_without_behavior_too(wanted: int) -> None:
    assert 2 <= limit(wanted, 3, (2, 6), None, History(), 0.0, down_window=300).replicas <= 6
