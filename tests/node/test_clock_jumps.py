"""The machine's clock may be set at any moment, by any amount: what a pod waits for comes when it would have come."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod

PROBE = {"exec": {"command": ["true"]}, "initialDelaySeconds": 20, "periodSeconds": 5}
HORIZON_SECONDS = 40
NAMES = ("crashing", "probed", "dated", "missing")
SLACK_SECONDS = 1.0
"""A look more or less: what a jump may shift an end by is the time until it is first seen."""


def lived(directory: Path, jumps: dict[int, int]) -> list[tuple[str, float]]:
    """What happened in the lives of four pods, and after how many seconds, with ``jumps`` of the wall clock at seconds.

    One crashes again and again, one becomes ready after its first probe, one outlives its deadline, one has no image.
    """
    told: list[tuple[str, float]] = []

    async def story(world: World) -> None:
        began = world.clock.monotonic()
        crashing, probed = container("crashing"), container("probed", readinessProbe=PROBE)
        missing = {**container("missing"), "image": "missing:1"}
        world.runtime.programs["crashing"] = [Program(seconds=1.5, exit_code=3)]
        await world.create(pod("crashing", containers=[crashing]))
        await world.create(pod("probed", containers=[probed]))
        await world.create(pod("dated", containers=[container("dated")], activeDeadlineSeconds=30))
        await world.create(pod("missing", containers=[missing]))
        before: dict[str, str] = {}
        for tick in range(HORIZON_SECONDS * 4):
            if tick % 4 == 0:
                world.clock.jump(jumps.get(tick // 4, 0))
            await asyncio.sleep(0.25)
            for name in NAMES:
                status = (await world.get(name)).get("status") or {}
                [one] = status.get("containerStatuses") or [{"state": {}, "ready": False, "restartCount": 0}]
                waits = (one["state"].get("waiting") or {}).get("reason", "")
                seen = f"{name} {status.get('phase')} {[*one['state']]} {waits} {one['ready']} {one['restartCount']}"
                if before.get(name) != seen:
                    told.append((seen, world.clock.monotonic() - began))
                before[name] = seen

    play(directory, story)
    return told


def per_pod(told: list[tuple[str, float]]) -> dict[str, list[tuple[str, float]]]:
    return {name: [(words, at) for words, at in told if words.startswith(name)] for name in NAMES}


@functools.cache
def undisturbed() -> dict[str, list[tuple[str, float]]]:
    with tempfile.TemporaryDirectory() as directory:
        return per_pod(lived(Path(directory), {}))


@given(
    st.dictionaries(st.integers(0, HORIZON_SECONDS - 1), st.sampled_from([-86400, -30, -7, 7, 30, 86400]), max_size=4)
)
@settings(max_examples=6)
def test_nothing_comes_earlier_or_later_because_the_clock_was_set(jumps: dict[int, int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        disturbed = per_pod(lived(Path(directory), jumps))
    for name, expected in undisturbed().items():
        assert [words for words, _ in disturbed[name]] == [words for words, _ in expected]
        for (words, at), (_, usual) in zip(disturbed[name], expected, strict=True):
            assert abs(at - usual) <= SLACK_SECONDS, (words, at, usual)
