"""Graceful node shutdown: who ends when, and whole shutdowns in virtual time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node.eviction.ranking import SYSTEM_CRITICAL
from kontinuum.node.settings import NodeSettings
from kontinuum.node.shutdown import logind, progress
from kontinuum.node.shutdown.leaving import Shutdown
from kontinuum.node.shutdown.plan import BadShutdown, Group, groups, shared_out


def test_two_periods_are_two_groups_and_none_is_none() -> None:
    assert groups(30, 10, {}) == (Group(0, 20), Group(SYSTEM_CRITICAL, 10))
    assert groups(0, 0, {}) == ()
    assert groups(0, 0, {"1000": 5, "0": 9}) == (Group(0, 9), Group(1000, 5))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"shutdown_grace_period": 10, "shutdown_grace_period_critical_pods": 20}, "must be between 0 and"),
        ({"shutdown_grace_period_critical_pods": 1}, "must be between 0 and"),
        ({"shutdown_grace_period": 1, "shutdown_grace_period_by_pod_priority": {"0": 1}}, "cannot be set together"),
        ({"shutdown_grace_period_by_pod_priority": {"high": 1}}, "must be whole numbers"),
        ({"shutdown_grace_period_by_pod_priority": {"0": -1}}, "must not be negative"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(BadShutdown, match=problem):
        NodeSettings(**settings)  # type: ignore[arg-type]


@given(st.lists(st.integers(-10, 3000), max_size=12), st.sets(st.integers(0, 2000), min_size=1, max_size=4))
def test_every_pod_is_in_one_group_and_no_group_ends_before_less_important_pods(
    priorities: list[int], bounds: set[int]
) -> None:
    known = [pod(str(index), priority=one) for index, one in enumerate(priorities)]
    shared = shared_out(known, [Group(bound, 1) for bound in sorted(bounds)])
    assert sorted(one["metadata"]["name"] for _, members in shared for one in members) == sorted(
        str(index) for index in range(len(known))
    )
    last = -(10**9)
    for _, members in shared:
        assert all(one["spec"]["priority"] >= last for one in members)
        last = max([last, *(one["spec"]["priority"] for one in members)])


def leaving(world: World, *order: Group) -> tuple[Shutdown, asyncio.Task[None]]:
    shutdown = Shutdown(world.clock, order, world.agent.workers, lambda: None)
    world.agent.follow_shutdown(shutdown)
    return shutdown, asyncio.create_task(shutdown.run())


def test_pods_end_in_order_each_in_its_time_and_say_why(tmp_path: Path) -> None:
    ends: dict[str, float] = {}

    async def story(world: World) -> None:
        world.runtime.programs = {"deaf": [Program(ignores_term=True)], "app": [Program()]}
        await world.create(pod("plain"))
        await world.create(pod("deaf", containers=[container("deaf")], terminationGracePeriodSeconds=100))
        await world.create(pod("done", containers=[container("done")], restartPolicy="Never"))
        await world.create(pod("critical", priority=SYSTEM_CRITICAL))
        for name in ("plain", "deaf", "done", "critical"):
            await world.wait(lambda one: one["phase"] in ("Running", "Succeeded"), name)
        shutdown, running = leaving(world, Group(0, 20), Group(SYSTEM_CRITICAL, 10))
        began = world.clock.monotonic()
        shutdown.announce()
        await world.create(pod("late"))
        late = await world.wait(lambda one: one["phase"] == "Failed", "late")
        assert late["reason"] == "NodeShutdown"
        # Twice, as the kubelet says it.
        assert late["message"] == "Pod was rejected: Pod was rejected as the node is shutting down."
        while not shutdown.is_over:
            for name in ("plain", "deaf", "critical"):
                if name not in ends and (await world.get(name))["status"]["phase"] == "Failed":
                    ends[name] = world.clock.monotonic() - began
            await asyncio.sleep(0.1)
        status = (await world.get("plain"))["status"]
        assert status["reason"] == "Terminated"
        assert status["message"] == "Pod was terminated in response to imminent node shutdown."
        reasons = {one["type"]: one.get("reason") for one in status["conditions"]}
        assert reasons["DisruptionTarget"] == "TerminationByKubelet"
        assert shutdown.left == 0
        await cancel(running)

    play(tmp_path, story)
    assert ends["plain"] < 5
    # The deaf one has its group's time, not its own, and the critical one begins to end only then.
    assert 19 <= ends["deaf"] <= 24
    assert ends.get("critical", 99) >= ends["deaf"] - 3


def test_a_shutdown_that_is_called_off_leaves_a_node_that_takes_pods(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        shutdown, running = leaving(world, Group(0, 20))
        shutdown.announce()
        await shutdown.wait_over()
        shutdown.call_off()
        assert not shutdown.is_over
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        # Once more, and now it counts.
        await asyncio.sleep(2)
        shutdown.announce()
        await shutdown.wait_over()
        assert (await world.get())["status"]["phase"] == "Failed"
        await cancel(running)

    play(tmp_path, story)


def test_an_api_that_is_away_does_not_hold_the_machine_up(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        shutdown, running = leaving(world, Group(0, 20))
        world.faults.down = True
        began = world.clock.monotonic()
        shutdown.announce()
        await shutdown.wait_over()
        assert world.clock.monotonic() - began < 20
        assert not any(one.is_running for _, one in world.runtime.containers.values())
        await cancel(running)

    play(tmp_path, story)


async def test_progress_is_told_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TELL_SECONDS", 0.01)
    file = tmp_path / "shutdown.json"
    file.write_text("from before")
    shutdown = Shutdown(RealClock(), (Group(0, 1),), lambda: (), lambda: None)
    tasks = [asyncio.create_task(one) for one in (shutdown.run(), progress.tell(shutdown, RealClock(), file))]
    async with asyncio.timeout(20):
        while file.exists():
            await asyncio.sleep(0.01)
        assert progress.read(file) is None
        shutdown.announce()
        while not ((told := progress.read(file)) and told.over):
            await asyncio.sleep(0.01)
    assert told == progress.Progress(os.getpid(), 0, over=True)
    await cancel(*tasks)


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (b'{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[true]}}', True),
        (b'{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[false]}}', False),
        (b'{"type":"signal","member":"PrepareForSleep","payload":{"type":"b","data":[true]}}', None),
        (b"Monitoring bus message stream.", None),
        (b'{"member":"PrepareForShutdown"}', None),
        (b"[]", None),
    ],
)
def test_the_bus_announces_shutdowns(line: bytes, meaning: bool | None) -> None:
    assert logind.announcement(line) is meaning


async def test_logind_is_heard_and_held_until_pods_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With programs in the place of systemd's: one holds until it is stopped, one announces."""
    held, released = tmp_path / "held", tmp_path / "released"
    programs = {
        "systemd-inhibit": f"trap 'touch {released}; exit 0' TERM\ntouch {held}\nwhile :; do sleep 0.05; done",
        "busctl": f"""case $1 in
            get-property) echo t 5000000;;
            monitor) while [ ! -e {held} ]; do sleep 0.02; done
                echo '{{"member":"PrepareForShutdown","payload":{{"data":[true]}}}}'; sleep 600;;
            esac""",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(logind, "RUNNING", tmp_path)
    monkeypatch.setattr(logind.process, "find_program", lambda name: tmp_path / name)
    shutdown = Shutdown(RealClock(), (Group(0, 1),), lambda: (), lambda: None)
    following = asyncio.create_task(logind.follow(shutdown, RealClock(), 60))
    async with asyncio.timeout(30):
        await shutdown.wait_announced()
        assert not released.exists()
        running = asyncio.create_task(shutdown.run())
        while not released.exists():
            await asyncio.sleep(0.02)
    await cancel(following, running)


async def test_without_logind_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind, "RUNNING", tmp_path / "missing")
    await logind.follow(Shutdown(RealClock(), (), lambda: (), lambda: None), RealClock(), 1)


def test_the_settings_of_a_node_name_where_progress_is_told() -> None:
    assert replace(NodeSettings(), run_dir="/run/x").shutdown_file == Path("/run/x/shutdown.json")
