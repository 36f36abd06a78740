"""A simulation's arithmetic, and one small simulation of everything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kontinuum.cli.simulation.drive import deployments
from kontinuum.cli.simulation.timing import Lap, percentile, point, steps
from kontinuum.foundation import process

KONTINUUM = Path(sys.executable).with_name("kontinuum")


def pod(uid: str, node: str = "", phase: str = "Pending") -> dict[str, object]:
    return {"metadata": {"uid": uid}, "spec": {"nodeName": node}, "status": {"phase": phase}}


def test_each_phase_is_measured_from_the_one_before() -> None:
    lap = Lap(began=100.0, wanted=1)
    lap.note(pod("a"), 101.0)
    lap.note(pod("a", "n"), 103.0)
    lap.note(pod("a", "n"), 104.0)
    assert not lap.is_over
    lap.note(pod("a", "n", "Running"), 106.0)
    assert lap.is_over
    assert lap.waits() == {"created": [1.0], "bound": [2.0], "running": [3.0]}
    seen = point(lap, nodes=1, pods=1, memory={}, processor={})
    assert seen.took == {"created": 1.0, "bound": 3.0, "running": 6.0}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_value_that_was_seen_and_never_falls(values: list[float], share: float) -> None:
    assert percentile(values, share) in values
    assert percentile(values, 0) <= percentile(values, share) <= percentile(values, 1)


@given(st.integers(1, 10**6), st.integers(1, 30))
def test_sizes_grow_to_the_total(total: int, count: int) -> None:
    sizes = steps(total, count)
    assert sizes == sorted(set(sizes)) and sizes[-1] == total and 1 <= len(sizes) <= count


@given(st.integers(0, 3000), st.integers(1, 3000), st.integers(1, 700))
def test_deployments_hold_exactly_the_new_pods_under_names_of_their_own(there: int, new: int, replicas: int) -> None:
    made = deployments(there, there + new, replicas)
    assert sum(one["spec"]["replicas"] for one in made) == new
    later = deployments(there + new, there + 2 * new, replicas)
    names = [one["metadata"]["name"] for one in made + later]
    assert len(set(names)) == len(names)


async def test_a_small_cluster_comes_to_run_and_leaves_nothing(tmp_path: Path) -> None:
    words = ("--nodes", "5", "--pods", "20", "--replicas", "4", "--steps", "2", "--output", "json", "--keep", tmp_path)
    ran = await process.run(KONTINUUM, "simulate", *words, timeout=240, check=False)
    assert ran.code == 0, ran.stderr
    points = json.loads(ran.stdout)["points"]
    assert [(one["pods"], one["new"]) for one in points] == [(10, 10), (20, 10)]
    assert points[-1]["memory"].keys() == {"API server", "controllers", "scheduler", "hollow nodes"}
    assert all(one["took"]["created"] <= one["took"]["bound"] <= one["took"]["running"] for one in points)
    for log in (tmp_path / "data" / "logs").glob("*.log"):
        assert '"level":"error"' not in log.read_text()
