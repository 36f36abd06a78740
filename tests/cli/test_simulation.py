"""A simulation's arithmetic, and one small simulation of everything."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lifetimes import BOUND, is_alive, kill

from kontinuum.cli.installation import Installation
from kontinuum.cli.simulation.drive import Drive, Plan, deployments
from kontinuum.cli.simulation.scratch import DATA, LOCK, PREFIX, scratch, sweep
from kontinuum.cli.simulation.timing import Lap, Point, percentile, point, steps
from kontinuum.cli.simulation.virtual import living
from kontinuum.foundation import process, virtual_time
from kontinuum.foundation.clock import VirtualClock

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_a_simulation_that_is_interrupted_leaves_no_part_of_its_cluster_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    words = ("--nodes", "2", "--pods", "2", "--steps", "1", "--settle-seconds", "600")
    # These tests may run under nohup, which a command heeds.
    told = ("env", "--default-signal=HUP", KONTINUUM, "simulate", *words)
    ran = process.spawn(*BOUND, *told, capture=True, env={"TMPDIR": str(tmp_path)})
    children = Path(f"/proc/{ran.pid}/task/{ran.pid}/children")
    parts: list[int] = []
    try:
        async with asyncio.timeout(120):
            while len(parts) < 3:
                parts = [int(child) for child in children.read_text().split()]
                await asyncio.sleep(0.05)
            ran.signal(number)
            assert await ran.wait() == (-number if number == signal.SIGKILL else 1)
            while any(map(is_alive, parts)):
                await asyncio.sleep(0.05)
    finally:
        kill(ran.pid, *parts)
        ran.close()
    if number == signal.SIGKILL:
        [left] = tmp_path.iterdir()
        assert (left / DATA).is_dir()
        sweep(tmp_path)
        assert not Installation.at(left / DATA).run.exists()
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_is_removed_when_the_last_process_that_uses_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as (data, lock):
        data.mkdir()
        (data / "file").touch()
        part = process.spawn(*BOUND, "sleep", "1000", pass_fds=(lock,))
        monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # It was killed before it could.
    monkeypatch.undo()
    try:
        sweep(tmp_path)
        assert (data / "file").exists(), "a part of it lives"
    finally:
        kill(part.pid)
        await part.wait()
        part.close()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_that_is_called_so_is_removed(tmp_path: Path) -> None:
    """Whatever somebody keeps under such a name, and what a link leads to."""
    kept, elsewhere = tmp_path / f"{PREFIX}kept", tmp_path / "elsewhere"
    for directory in (kept, elsewhere):
        (directory / DATA).mkdir(parents=True)
    (elsewhere / LOCK).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    sweep(tmp_path)
    assert (kept / DATA).is_dir() and (elsewhere / DATA).is_dir()
    assert len(list(tmp_path.iterdir())) == 4


def _lived(seed: int) -> tuple[list[Point], str]:
    """A small life in virtual time: its times, and which pod is where at its end."""

    async def main() -> tuple[list[Point], str]:
        clock = VirtualClock()
        async with living(clock, seed=seed) as (client, parts):
            plan = Plan(nodes=8, pods=60, replicas=20, steps=2, ready_seconds=2)
            drive = Drive(client, clock, plan, parts=parts, told=lambda done, total: None)
            async with drive.nodes():
                return [one async for one in drive.run()], drive.fingerprint()

    return virtual_time.run(main)


def test_the_same_seed_gives_the_same_life_in_virtual_time() -> None:
    (first, places), (again, same_places), (other, _) = (_lived(seed) for seed in (1, 1, 2))
    for points in (first, other):
        assert [(one.pods, one.new) for one in points] == [(30, 30), (60, 30)]
        # The nodes' own time is all that takes long: nobody waits for a processor.
        assert all(2 < one.p50["running"] < 2.1 for one in points)
    assert places == same_places
    assert [one.took for one in first] == [one.took for one in again] != [one.took for one in other]


async def test_the_command_lives_in_virtual_time_without_any_other_process() -> None:
    words = ("--nodes", "2", "--pods", "4", "--steps", "1", "--settle-seconds", "60", "--output", "json")
    ran, refused = await asyncio.gather(
        process.run(KONTINUUM, "simulate", "--virtual", *words, timeout=240, check=False),
        process.run(KONTINUUM, "simulate", "--virtual", "--store", "etcd://x", timeout=240, check=False),
    )
    assert ran.code == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["points"][-1]["memory"].keys() == {"everything"} == found["idle"]["shares"].keys()
    assert found["lived"] > 60 and found["fingerprint"]
    assert refused.code == 2 and b"--store: not with --virtual" in refused.stderr
