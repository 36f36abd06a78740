"""Whatever goes wrong, in whatever order: never two live sandboxes, never a container before its init containers; and
once it is quiet again the pod runs, or is gone if it was deleted. A generator looks for the order that breaks it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod, state

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import uid_of
from kontinuum.node.worker import REFRESH_SECONDS

MISHAPS = st.sampled_from(
    ["kill app", "kill side", "lose sandbox", "away", "agent", "watches",
     "fail run_sandbox", "fail create_container", "fail start_container", "fail stop_container", "fail observe",
     "fail remove_sandbox", "surprise fingerprints", "surprise observe"]
)  # fmt: skip
STORIES = st.lists(st.tuples(MISHAPS, st.floats(0.0, 15.0)), max_size=12)
QUIET_SECONDS = 700.0
"""Longer than the longest back-off, so that nothing is still being waited for."""


async def happen(world: World, mishap: str) -> None:
    match mishap.split():
        case ["kill", name]:
            world.runtime.kill(name)
        case ["lose", _]:
            world.runtime.lose_sandbox()
        case ["away"]:
            world.runtime.is_away = not world.runtime.is_away
        case ["agent"]:
            await world.stop()
            await world.start()
        case ["watches"]:
            world.api.drop_watches()
        case ["fail", call]:
            world.runtime.failures[call] += 1
        case ["surprise", call]:
            world.runtime.surprises[call] += 1


def two_containers_behind_an_init() -> dict[str, object]:
    return pod(initContainers=[container("init")], containers=[container("app"), container("side")])


@settings(deadline=None, max_examples=25)
@given(STORIES, st.booleans())
@example([("surprise fingerprints", 0.0), ("surprise fingerprints", 0.0), ("agent", 1.0)], False)
def test_after_any_mishaps_the_pod_is_what_it_should_be(mishaps: list[tuple[str, float]], is_deleted: bool) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["init"] = [Program(seconds=0.5)]
        world.runtime.init_names = {"init"}
        await world.create(two_containers_behind_an_init())
        for mishap, seconds in mishaps:
            await happen(world, mishap)
            await asyncio.sleep(seconds)
        world.runtime.is_away = False
        world.runtime.failures.clear()
        world.runtime.surprises.clear()
        if is_deleted:
            await world.delete(grace=1)
        await asyncio.sleep(QUIET_SECONDS)
        if is_deleted:
            assert not await world.exists()
            assert not world.runtime.sandboxes
        else:
            assert world.runtime.running() == ["app", "side"]
            status = (await world.get())["status"]
            assert status["phase"] == "Running"
            assert all(one["ready"] for one in status["containerStatuses"])

    with tempfile.TemporaryDirectory() as directory:
        play(Path(directory), story)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_files_that_are_refreshed_while_their_pod_ends_go_with_it(tmp_path: Path, is_deleted: bool) -> None:
    """What is mounted again after its pod has given it back is in use for ever, by nobody."""

    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=REFRESH_SECONDS + 2)]
        metadata = {"name": "words", "namespace": "default"}
        await world.client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        app = container("app", volumeMounts=[{"name": "words", "mountPath": "/words"}])
        volumes = [{"name": "words", "configMap": {"name": "words"}}]
        made = await world.create(pod(containers=[app], volumes=volumes, restartPolicy="Never"))
        place = world.tools.pod_directory(uid_of(made)) / "volumes" / "words"
        await world.wait(lambda status: "running" in state(status))
        assert place.exists()
        # So long that the answer to whoever refreshes comes when the pod has ended.
        world.faults.delay = 10.0
        await asyncio.sleep(REFRESH_SECONDS + 1)
        if is_deleted:
            await world.delete(grace=1)
        await asyncio.sleep(QUIET_SECONDS)
        assert await world.exists() != is_deleted
        assert not place.exists()

    play(tmp_path, story)
