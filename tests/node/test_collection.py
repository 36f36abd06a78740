"""Images and dead containers go when there is too much of them, never one that somebody needs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.fake_runtime import FakeRuntime, Program
from tests.node.world import World, container, play, pod, state

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.foundation import virtual_time
from kontinuum.foundation.clock import VirtualClock
from kontinuum.foundation.tasks import cancel
from kontinuum.node import container_collection
from kontinuum.node.image_collection import Disk, ImageCollector, Limits, NotEnoughFreed, Seen, is_used, plan, remember
from kontinuum.node.images import named_by
from kontinuum.node.port import KnownContainer, PresentImage
from kontinuum.node.settings import NodeSettings

NOW = 10_000.0
LIMITS = Limits(high_percent=85, low_percent=80, minimum_age=120, maximum_age=0)
GIB = 1 << 30

IDS = st.sampled_from([f"sha256:{letter}" for letter in "abcdefgh"])
IMAGES = st.lists(
    st.builds(
        lambda id_, size, pinned: PresentImage((f"registry.test/{id_[-1]}:1",), size, id_, pinned),
        IDS, st.integers(0, 100 * GIB), st.booleans(),
    ),
    unique_by=lambda one: one.id,
)  # fmt: skip


@given(IMAGES, st.sets(IDS), st.integers(0, 100), st.booleans(), st.integers(0, 5000), st.data())
def test_what_is_used_pinned_or_young_never_goes_and_the_longest_unused_goes_first(
    images: list[PresentImage], used: set[str], free: int, all_unused: bool, maximum_age: int, data: st.DataObject
) -> None:
    seen = {one.id: Seen(data.draw(st.floats(0, NOW), "first"), data.draw(st.floats(0, NOW), "used")) for one in images}
    disk = Disk(100 * GIB, free * GIB)
    limits = Limits(85, 80, 120, maximum_age)
    decision = plan(images, seen, used, disk, limits, NOW, all_unused=all_unused)
    for one in (*decision.aged, *decision.spare):
        assert not one.is_pinned and one.id not in used
    assert all(NOW - seen[one.id].first >= 120 for one in decision.spare)
    assert all(NOW - seen[one.id].idle_since > maximum_age for one in decision.aged)
    assert [seen[one.id].used for one in decision.spare] == sorted(seen[one.id].used for one in decision.spare)
    assert not {one.id for one in decision.aged} & {one.id for one in decision.spare}
    if not all_unused:
        # Down to the low threshold, and only once the high one is reached.
        assert decision.wanted == ((20 - free) * GIB if disk.used_percent >= 85 else 0)


def test_a_name_is_as_good_a_reason_to_stay_as_a_container() -> None:
    image = PresentImage(("registry.test/a@sha256:00", "registry.test/a:1"), 1, "sha256:a")
    assert is_used(image, {"registry.test/a:1"}) and is_used(image, {"sha256:a"}) and not is_used(image, {"a"})
    wanted = pod(containers=[container("c", image="a:1")], volumes=[{"name": "v", "image": {"reference": "x/b:2"}}])
    assert set(named_by([wanted, pod(containers=[container("c", image="NOT A NAME")])])) == {
        "docker.io/library/a:1",
        "docker.io/x/b:2",
    }


def test_an_image_is_remembered_from_when_it_was_found_and_last_used() -> None:
    a, b = PresentImage((), 1, "a"), PresentImage((), 1, "b")
    seen = remember({}, [a, b], {"a"}, 10.0)
    assert seen == {"a": Seen(10, 10), "b": Seen(10)}
    assert remember(seen, [a], set(), 20.0) == {"a": Seen(10, 10)}


class Story:
    def __init__(self, free_percent: int) -> None:
        self.clock = VirtualClock()
        self.runtime = FakeRuntime(self.clock, images={"registry.test/a:1", "registry.test/b:1"})
        self.free = free_percent
        self.told: list[str] = []
        self.named: list[str] = []
        self.kept: set[str] = set()
        self.left: list[Collection[str]] = []
        self.collector = ImageCollector(
            self.runtime, self.clock, NodeSettings(), lambda: self.named, self.pinned,
            lambda *event: self.told.append(event[1]), self.left.append, lambda _: Disk(100, self.free),
        )  # fmt: skip

    async def pinned(self) -> set[str]:
        return self.kept


def test_a_full_disk_is_told_again_and_again_until_there_is_room() -> None:
    story = Story(free_percent=5)

    async def main() -> None:
        running = asyncio.create_task(story.collector.run())
        await story.clock.sleep(1)
        assert story.told == ["FreeDiskSpaceFailed"] and len(story.runtime.images) == 2  # both are young
        await story.clock.sleep(300)
        assert not story.runtime.images
        assert story.told[1:] == ["FreeDiskSpaceFailed", "ImageGCFailed"]
        story.free = 50
        await story.clock.sleep(900)
        assert len(story.told) == 3
        await cancel(running)

    virtual_time.run(main)


def test_under_pressure_everything_goes_that_nobody_names() -> None:
    story = Story(free_percent=50)

    async def main() -> None:
        assert await story.collector.collect_images(all_unused=True) == 0
        await story.clock.sleep(121)
        assert await story.collector.collect_images() == 0
        story.named, story.kept = ["registry.test/b:1"], {"registry.test/a:1"}
        assert await story.collector.collect_images(all_unused=True) == 0
        story.kept.clear()
        assert await story.collector.collect_images(all_unused=True) == 1
        assert story.runtime.images == {"registry.test/b:1"}
        assert story.left[-1] == {"id of registry.test/b:1"}

    virtual_time.run(main)


def test_a_file_system_without_capacity_is_told() -> None:
    story = Story(free_percent=50)
    story.collector._disk = lambda _: Disk(0, 0)

    async def main() -> None:
        with pytest.raises(NotEnoughFreed, match="invalid capacity 0"):
            await story.collector.collect_images()

    virtual_time.run(main)
    assert story.told == ["InvalidDiskCapacity"]


CONTAINERS = st.lists(
    st.builds(
        lambda number, uid, name, dead, at: KnownContainer(f"c{number}", uid, name, "", dead, at),
        st.integers(), st.sampled_from("xyz"), st.sampled_from("ab"), st.booleans(), st.floats(0, NOW),
    ),
    unique_by=lambda one: one.id,
)  # fmt: skip


@given(CONTAINERS, st.integers(-1, 20))
def test_dead_containers_are_bounded_and_the_newest_of_each_stay_longest(
    containers: list[KnownContainer], maximum: int
) -> None:
    going = set(container_collection.plan(containers, maximum))
    dead = {one.id: one for one in containers if one.is_dead}
    assert going <= set(dead)
    left = [one for one in dead.values() if one.id not in going]
    if maximum < 0:
        assert not going
        return
    assert len(left) <= maximum
    for one in left:
        older = [two for two in dead.values() if (two.pod_uid, two.name) == (one.pod_uid, one.name)]
        assert not any(two.created_at > one.created_at and two.id in going for two in older)
    # Nothing goes for nothing: shares are whole numbers, so less than one of each unit is lost to rounding.
    units = {(one.pod_uid, one.name) for one in dead.values()}
    if len(dead) <= maximum:
        assert not going
    elif all(sum((d.pod_uid, d.name) == unit for d in dead.values()) >= maximum for unit in units):
        assert len(left) > maximum - len(units)


def test_a_job_whose_containers_were_collected_is_not_run_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs = {"app": [Program(seconds=1)], "other": [Program(seconds=30)]}
        two = [container("app"), container("other")]
        await world.client.create(PODS, pod(restartPolicy="OnFailure", containers=two))
        await world.wait(lambda one: "terminated" in state(one, 0))
        settings = NodeSettings(maximum_dead_containers=0)
        assert await container_collection.collect_containers(world.runtime, settings) == 1
        await world.wait(lambda one: "terminated" in state(one, 1))
        assert (await world.get())["status"]["phase"] == "Succeeded"
        assert world.runtime.starts["app"] == 1

    play(tmp_path, story)
