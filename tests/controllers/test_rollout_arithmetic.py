"""The arithmetic of rollouts alone, over many more states than a cluster in virtual time can show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.controllers.lib.rollout import Group, Limits, limits, roll, scale_proportionally

SIZES = st.integers(0, 12)
LIMITS = st.builds(
    lambda replicas, surge, unavailable: limits(replicas, surge, unavailable), SIZES, st.integers(0, 12), SIZES
)


@st.composite
def groups(draw: st.DrawFn, largest: int = 4) -> list[Group]:
    sizes = draw(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=largest))
    return [Group(f"g{number}", size, available) for number, (size, available) in enumerate(sizes)]


def sure(all_groups: list[Group]) -> int:
    """Pods that are available and wanted."""
    return sum(min(group.replicas, group.available) for group in all_groups)


def applied(all_groups: list[Group], sizes: dict[str, int]) -> list[Group]:
    return [replace(group, replicas=sizes.get(group.name, group.replicas)) for group in all_groups]


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, None, None, Limits(10, 3, 2)),
        (10, "25%", "25%", Limits(10, 3, 2)),
        (1, None, None, Limits(1, 1, 0)),
        (4, "50%", 1, Limits(4, 2, 1)),
        (3, 0, 0, Limits(3, 0, 1)),
        (3, "0%", "10%", Limits(3, 0, 1)),
        (2, 1, 5, Limits(2, 1, 2)),
        (0, None, None, Limits(0, 0, 0)),
    ],
)
def test_wishes_become_the_numbers_that_kubernetes_makes_of_them(
    replicas: int, surge: int | str | None, unavailable: int | str | None, expected: Limits
) -> None:
    assert limits(replicas, surge, unavailable) == expected


@given(groups(), LIMITS)
def test_no_step_makes_more_pods_than_surge_allows(everything: list[Group], wanted: Limits) -> None:
    new, old = everything[-1], everything[:-1]
    after = applied(everything, roll(new, old, wanted))
    assert sum(g.replicas for g in after) <= max(wanted.largest, sum(g.replicas for g in everything))


@given(groups(), LIMITS)
def test_no_step_of_a_rollout_gives_up_an_available_pod_that_is_needed(everything: list[Group], wanted: Limits) -> None:
    new, old = everything[-1], everything[:-1]
    if new.replicas > wanted.replicas:
        return
    after = applied(everything, roll(new, old, wanted))
    assert sure(after) >= min(sure(everything), wanted.fewest_available)


@given(groups(), LIMITS)
def test_a_rollout_whose_pods_become_available_ends(everything: list[Group], wanted: Limits) -> None:
    everything = [replace(g, available=g.replicas) for g in everything]
    for _ in range(100):
        sizes = roll(everything[-1], everything[:-1], wanted)
        everything = [replace(g, available=g.replicas) for g in applied(everything, sizes)]
    assert [g.replicas for g in everything] == [0] * (len(everything) - 1) + [wanted.replicas]


@given(groups(), LIMITS, st.integers(1, 30))
def test_scaling_shares_out_exactly_what_is_allowed(everything: list[Group], wanted: Limits, before: int) -> None:
    active = [replace(g, annotated_maximum=before) for g in everything if g.replicas]
    if not active:
        return
    sizes = scale_proportionally(active, wanted, current_replicas=before)
    assert set(sizes) == {g.name for g in active}
    assert all(size >= 0 for size in sizes.values())
    assert sum(sizes.values()) == (wanted.largest if wanted.replicas else 0)


def test_the_example_of_the_kubernetes_documentation_holds() -> None:
    """10 replicas, maxSurge 3, maxUnavailable 2, stuck at 8 old and 5 new; scaled to 15."""
    groups_ = [Group("old", 8, 8, annotated_maximum=13), Group("new", 5, 0, annotated_maximum=13)]
    assert scale_proportionally(groups_, limits(15, 3, 2), current_replicas=13) == {"old": 11, "new": 7}
