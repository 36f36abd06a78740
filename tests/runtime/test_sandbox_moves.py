"""The sandbox's picture: every arrow in it can be gone, and no other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.runtime.sandbox import MoveRefused, Phase, move

PICTURE = """
new -> starting stopping
starting -> ready failed stopping
ready -> lost stopping
failed -> stopping
lost -> stopping
stopping -> stopped
stopped ->
"""


def arrows() -> set[tuple[str, str]]:
    lines = (line.partition(" ->") for line in PICTURE.strip().splitlines())
    return {(source, target) for source, _, targets in lines for target in targets.split()}


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Phase, Phase)))
def test_exactly_the_drawn_moves_are_made(source: Phase, target: Phase) -> None:
    if (source.value, target.value) in arrows():
        assert move(source, target) is target
    else:
        with pytest.raises(MoveRefused, match=f"{source.value} cannot become {target.value}"):
            move(source, target)


@given(st.lists(st.sampled_from(Phase)))
def test_a_machine_that_is_gone_never_comes_back(wishes: list[Phase]) -> None:
    phase, gone = Phase.NEW, False
    for wish in wishes:
        try:
            phase = move(phase, wish)
        except MoveRefused:
            continue
        gone = gone or phase in (Phase.FAILED, Phase.LOST, Phase.STOPPING)
        assert not (gone and phase in (Phase.NEW, Phase.STARTING, Phase.READY))
