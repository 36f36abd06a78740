"""Node-pressure eviction: thresholds, pressure over time, who goes first, and whole evictions in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.tasks import cancel
from kontinuum.node import qos
from kontinuum.node.admission import Refusal, verdict
from kontinuum.node.eviction import words
from kontinuum.node.eviction.evictor import Evictor
from kontinuum.node.eviction.local_storage import excess
from kontinuum.node.eviction.plan import Observation, State, decide
from kontinuum.node.eviction.ranking import ranked
from kontinuum.node.eviction.signals import signals
from kontinuum.node.eviction.thresholds import (
    MEMORY,
    NODEFS,
    PIDS,
    Amount,
    BadThreshold,
    Threshold,
    thresholds,
)
from kontinuum.node.resize import Room
from kontinuum.node.sandbox_config import log_directory
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage.measuring import Meter, Walk
from kontinuum.node.usage.values import ContainerTakes, Disk, PodUsage, VolumeTakes

MIB = 1 << 20
GIB = 1 << 30


def limited(
    name: str = "p", *, priority: int = 0, requests: Object | None = None, limits: Object | None = None, **spec: Any
) -> Object:
    resources = {"requests": requests or {}, "limits": limits or {}}
    made = pod(name, containers=[container("app", resources=resources)], priority=priority, **spec)
    made["metadata"]["uid"] = name
    return made


def takes(*, memory: int = 0, processes: int = 0, layer: int = 0, logs: int = 0, **volumes: int) -> PodUsage:
    main = ContainerTakes(memory, Disk(layer, 1), Disk(logs, 1))
    return PodUsage(
        memory, processes, {"app": main}, {n: VolumeTakes(Disk(b, 1), is_local=True) for n, b in volumes.items()}
    )


# Settings


def test_thresholds_are_amounts_or_shares() -> None:
    memory, disk = thresholds({"nodefs.available": "10%", "memory.available": "100Mi", "imagefs.available": "0%"})
    assert (memory.signal, memory.least.of(GIB), disk.least.of(1000)) == (MEMORY, 100 * MIB, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"memory.free": "1Mi"},), 'eviction_hard: there is no signal "memory.free"'),
        (({"memory.available": "much"},), 'eviction_hard: "much" is neither a quantity like 100Mi nor a share like 5%'),
        (({"memory.available": "101%"},), '"101%" is neither'),
        (({"memory.available": "-1"},), '"-1" is neither'),
        (({}, {"memory.available": "1Gi"}), 'eviction_soft: "memory.available" needs seconds'),
        (({}, {}, {}, {"memory.available": "x"}), 'eviction_minimum_reclaim: "x" is neither'),
    ],
)
def test_bad_thresholds_say_which_and_what_is_expected(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadThreshold) as caught:
        thresholds(*arguments)
    assert message in str(caught.value)
    with pytest.raises(BadThreshold):
        names = ("eviction_hard", "eviction_soft", "eviction_soft_grace_period", "eviction_minimum_reclaim")
        NodeSettings(**dict(zip(names, arguments, strict=False)))


# Pressure over time

HARD = Threshold(MEMORY, Amount(units=100), reclaim=Amount(units=50))
SOFT = Threshold(MEMORY, Amount(units=300), grace=90)


def test_a_soft_threshold_presses_at_once_and_is_due_after_its_grace() -> None:
    state = State()
    for now, is_due in ((0.0, False), (60.0, False), (90.0, True)):
        decision = decide([SOFT], {MEMORY: Observation(200, 1000)}, state, now, transition_period=300)
        state = decision.state
        assert (decision.pressures, bool(decision.due)) == ({"MemoryPressure"}, is_due)


def test_what_was_met_stays_so_until_the_minimum_is_reclaimed_too() -> None:
    state, due = State(), []
    for now, available in enumerate((99, 120, 149, 150, 120)):
        decision = decide([HARD], {MEMORY: Observation(available, 1000)}, state, float(now), transition_period=0)
        state = decision.state
        due.append(bool(decision.due))
    assert due == [True, True, True, False, False]


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.one_of(st.none(), st.integers(0, 1000)), st.integers(0, 1000)), max_size=20
    ),
    st.sampled_from((0, 30, 300)),
)
def test_nothing_is_due_without_pressure_and_pressure_outlives_its_cause_by_the_period(
    looks: list[tuple[int, int | None, int]], period: int
) -> None:
    state, now, last_cause = State(), 0.0, -1e9
    for passed, memory, disk in looks:
        now += passed
        disk_threshold = Threshold(NODEFS, Amount(share=0.1))
        observations = {NODEFS: Observation(disk, 1000)} | (
            {} if memory is None else {MEMORY: Observation(memory, 1000)}
        )
        before = state
        decision = decide([HARD, SOFT, disk_threshold], observations, state, now, transition_period=period)
        state = decision.state
        last_cause = now if disk < 100 else last_cause
        assert ("DiskPressure" in decision.pressures) == (now - last_cause < period or now == last_cause)
        assert all(
            f"{'Memory' if one.signal == MEMORY else 'Disk'}Pressure" in decision.pressures for one in decision.due
        )
        if memory is None:
            # What cannot be seen neither begins nor ends.
            assert {one for one in state.met_since if one.signal == MEMORY} == {
                one for one in before.met_since if one.signal == MEMORY
            }
        elif memory >= 300:
            assert not any(one.signal == MEMORY for one in decision.due)
        elif memory < 100:
            assert HARD in decision.due


# Who goes first


def names(
    candidates: list[Object], usage: dict[str, PodUsage], signal: str, *, has_image_disk: bool = False
) -> list[str]:
    order = ranked(candidates, usage, Threshold(signal, Amount(units=1)), has_image_disk=has_image_disk)
    return [one["metadata"]["name"] for one in order]


def test_who_exceeds_its_request_goes_before_the_others_then_priority_then_excess() -> None:
    candidates = [
        limited("within", requests={"memory": "500Mi"}),
        limited("important", priority=10),
        limited("small", requests={"memory": "100Mi"}),
        limited("large"),
        limited("critical", priority=2_000_000_000),
    ]
    usage = {one: takes(memory=size * MIB) for one, size in
             {"within": 400, "important": 900, "small": 150, "large": 200, "critical": 999}.items()}  # fmt: skip
    assert names(candidates, usage, MEMORY) == ["large", "small", "important", "within"]


def test_process_numbers_cannot_be_asked_for() -> None:
    usage = {"few": takes(processes=2), "many": takes(processes=99), "important": takes(processes=500)}
    assert names([limited(n, priority=int(n == "important")) for n in usage], usage, PIDS) == [
        "many",
        "few",
        "important",
    ]


def test_where_images_have_a_disk_layers_count_there_and_the_rest_here() -> None:
    usage = {"layers": takes(layer=9, logs=1, scratch=1), "files": takes(layer=1, logs=3, scratch=3)}
    candidates = [limited(name) for name in usage]
    assert names(candidates, usage, NODEFS) == ["layers", "files"]
    assert names(candidates, usage, NODEFS, has_image_disk=True) == ["files", "layers"]
    assert names(candidates, usage, "imagefs.available", has_image_disk=True) == ["layers", "files"]


# Local storage


@pytest.mark.parametrize(
    ("made", "usage", "message"),
    [
        (limited(volumes=[{"name": "s", "emptyDir": {"sizeLimit": "5Mi"}}]), takes(s=6 * MIB),
         'Usage of EmptyDir volume "s" exceeds the limit "5Mi". '),
        (limited(limits={"ephemeral-storage": "10Mi"}), takes(layer=4 * MIB, logs=3 * MIB, s=4 * MIB),
         "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
        (pod(containers=[container("app", resources={"limits": {"ephemeral-storage": "5Mi"}}),
                         container("b", resources={"limits": {"ephemeral-storage": "50Mi"}})]),
         takes(layer=4 * MIB, logs=2 * MIB), 'Container app exceeded its local ephemeral storage limit "5Mi". '),
        (limited(limits={"ephemeral-storage": "10Mi"}), takes(layer=10 * MIB), ""),
        (limited(), takes(layer=10 * GIB), ""),
    ],
)  # fmt: skip
def test_limits_of_local_storage_speak_in_kubernetes_words(made: Object, usage: PodUsage, message: str) -> None:
    assert excess(made, usage) == message


# Admission


def test_a_pressed_node_takes_only_who_may_stay() -> None:
    def reason(made: Object, *pressures: str) -> str:
        why = verdict(made, [], Room(2000, GIB), 110, (), pressures)
        return why.message if isinstance(why, Refusal) else ""

    tolerating = limited(tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}])
    assert reason(limited(), "MemoryPressure") == "The node had condition: [MemoryPressure]. "
    assert not reason(limited())
    assert not reason(limited(requests={"memory": "1Mi"}), "MemoryPressure")
    assert not reason(tolerating, "MemoryPressure")
    assert reason(tolerating, "MemoryPressure", "DiskPressure").endswith("[DiskPressure, MemoryPressure]. ")
    assert not reason(limited(priority=2_000_000_000), "DiskPressure", "PIDPressure")


# Whole evictions


class Fed:
    """An evictor whose signals and usage are what the story says."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.observed: dict[str, Observation] = {MEMORY: Observation(GIB, GIB), NODEFS: Observation(GIB, GIB)}
        self.usage: dict[str, PodUsage] = {}
        self.images_collected = 0
        self.freed_by_images = 0
        self.changes = 0
        self._world = world
        hard = {"memory.available": "100Mi", "nodefs.available": "10%"}
        self.evictor = Evictor(
            replace(world.tools.settings, **{"eviction_hard": hard, **settings}), world.clock, world.events,
            workers=world.agent.workers, measure=self._measure, signals=lambda: self.observed,
            node=lambda: {"kind": "Node", "metadata": {"name": "n1"}}, changed=self._changed,
            make_room=self._collect,
        )  # fmt: skip
        world.agent.follow_pressures(self.evictor)
        self._running = asyncio.create_task(self.evictor.run())

    async def stop(self) -> None:
        await cancel(self._running)

    async def _measure(self, known: Any) -> Mapping[str, PodUsage]:
        return {one["metadata"]["uid"]: self.usage.get(one["metadata"]["name"], PodUsage()) for one in known}

    def _changed(self) -> None:
        self.changes += 1

    async def _collect(self) -> None:
        self.images_collected += 1
        self.observed[NODEFS] = Observation(self.observed[NODEFS].available + self.freed_by_images, GIB)


def test_short_of_memory_the_greediest_goes_and_says_why(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        fed = Fed(world)
        for name in ("modest", "greedy"):
            await world.create(pod(name))
            await world.wait(lambda one: one["phase"] == "Running", name)
        fed.usage = {"modest": takes(memory=MIB), "greedy": takes(memory=300 * MIB)}
        fed.observed[MEMORY] = Observation(50 * MIB, GIB)
        seen = await world.wait(lambda one: one.get("conditions", [{}])[-1]["type"] == "DisruptionTarget", "greedy")
        # Until its containers have ended it is not said to have failed.
        assert seen["phase"] == "Running" or "terminated" in seen["containerStatuses"][0]["state"]
        fed.observed[MEMORY] = Observation(900 * MIB, GIB)
        status = await world.wait(lambda one: one["phase"] == "Failed", "greedy")
        assert "terminated" in status["containerStatuses"][0]["state"]
        message = ("The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
                   "Container app was using 300Mi, request is 0, has larger consumption of memory. ")  # fmt: skip
        assert (status["reason"], status["message"]) == ("Evicted", message)
        condition = next(one for one in status["conditions"] if one["type"] == "DisruptionTarget")
        assert (condition["status"], condition["reason"], condition["message"]) == (
            "True",
            "TerminationByKubelet",
            message,
        )
        # The node says so for a while, and takes no pod that asks for nothing.
        assert fed.evictor.pressures == {"MemoryPressure"}
        await world.create(pod("late"))
        refused = await world.wait(lambda one: one["phase"] == "Failed", "late")
        assert refused["reason"] == "Evicted"
        await asyncio.sleep(330)
        assert not fed.evictor.pressures
        assert fed.changes == 2
        assert (await world.get("modest"))["status"]["phase"] == "Running"
        # An agent that begins anew keeps saying why the pod has ended.
        await fed.stop()
        await world.stop()
        await world.start()
        await asyncio.sleep(30)
        assert (await world.get("greedy"))["status"]["reason"] == "Evicted"

    told = play(tmp_path, story).events.told
    assert ("EvictionThresholdMet", "Attempting to reclaim memory") in told
    assert next(message for reason, message in told if reason == "Evicted").startswith("The node was low on resource")


def test_short_of_disk_unused_images_go_before_any_pod(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        fed = Fed(world)
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        fed.freed_by_images = GIB // 2
        fed.observed[NODEFS] = Observation(GIB // 20, GIB)
        await asyncio.sleep(60)
        assert (fed.images_collected, fed.evictor.pressures) == (1, {"DiskPressure"})
        assert (await world.get())["status"]["phase"] == "Running"
        fed.freed_by_images = 0
        fed.observed[NODEFS] = Observation(GIB // 20, GIB)
        status = await world.wait(lambda one: one["phase"] == "Failed")
        assert status["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: ")
        await fed.stop()

    play(tmp_path, story)


def test_a_soft_threshold_gives_a_pod_at_most_the_maximum_to_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        fed = Fed(world, eviction_hard={}, eviction_soft={"memory.available": "200Mi"},
                  eviction_soft_grace_period={"memory.available": 60.0}, eviction_max_pod_grace_period=7)  # fmt: skip
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        fed.observed[MEMORY] = Observation(150 * MIB, GIB)
        began = world.clock.monotonic()
        status = await world.wait(lambda one: one["phase"] == "Failed", seconds=200)
        assert 60 + 7 <= world.clock.monotonic() - began <= 60 + 7 + 25
        assert status["reason"] == "Evicted"
        await fed.stop()

    play(tmp_path, story)


def test_who_exceeds_its_own_limit_goes_although_the_node_is_well(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        fed = Fed(world)
        await world.create(pod(volumes=[{"name": "s", "emptyDir": {"sizeLimit": "1Mi"}}]))
        await world.wait(lambda one: one["phase"] == "Running")
        fed.usage["p"] = takes(s=2 * MIB)
        status = await world.wait(lambda one: one["phase"] == "Failed")
        assert (status["reason"], status["message"]) == ("Evicted", words.empty_dir_over("s", "1Mi"))
        assert not any(one["type"] == "DisruptionTarget" for one in status["conditions"])
        assert not fed.evictor.pressures
        await fed.stop()

    play(tmp_path, story)


# Signals of a real machine


def test_signals_of_cgroup_v1_and_v2_and_of_what_is_not_there(tmp_path: Path) -> None:
    proc, old, new = tmp_path / "proc", tmp_path / "v1", tmp_path / "v2"
    (proc / "sys" / "kernel").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nInactive(file): 30 kB\n")
    (proc / "sys/kernel/pid_max").write_text("4194304")
    (proc / "sys/kernel/threads-max").write_text("1000")
    (proc / "loadavg").write_text("0.1 0.2 0.3 2/250 999")
    (old / "memory").mkdir(parents=True)
    (old / "memory/memory.usage_in_bytes").write_text("614400")
    (old / "memory/memory.stat").write_text("cache 5\ntotal_inactive_file 102400\n")
    new.mkdir()
    (new / "cgroup.controllers").write_text("memory")
    missing = tmp_path / "missing"
    found = signals(tmp_path, missing, proc=proc, cgroup_root=old)
    assert found[MEMORY] == Observation((1000 << 10) - 512_000, 1000 << 10)
    assert found[PIDS] == Observation(750, 1000)
    assert set(found) == {MEMORY, PIDS, NODEFS, "nodefs.inodesFree"}
    assert found[NODEFS].available > 0
    assert signals(tmp_path, missing, proc=proc, cgroup_root=new)[MEMORY] == Observation(130 << 10, 1000 << 10)
    assert MEMORY not in signals(tmp_path, tmp_path, proc=missing, cgroup_root=old)


def test_what_pods_take_is_read_from_cgroups_and_walked_on_disk(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "host", "hostPath": {"path": str(tmp_path)}}]
        mounts = [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes]
        made = await world.create(pod(volumes=volumes, containers=[container("app", volumeMounts=mounts)]))
        await world.wait(lambda one: one["phase"] == "Running")
        settings, root = world.tools.settings, world.tools.cgroup_root
        mine = root / "memory" / qos.cgroup_of(settings, made).lstrip("/")
        (mine / "memory.usage_in_bytes").write_text("5000")
        (mine / "memory.stat").write_text("total_inactive_file 2000")
        scratch = settings.data / "pods" / made["metadata"]["uid"] / "volumes" / "scratch"
        (scratch / "deep").mkdir()
        (scratch / "deep" / "a").write_bytes(b"x" * 10_000)
        (scratch / "b").hardlink_to(scratch / "deep" / "a")
        (scratch / "c").symlink_to("/usr")
        logs = log_directory(settings, made) / "app"
        logs.mkdir(parents=True)
        (logs / "0.log").write_bytes(b"x" * 9_000)

        async def at_once(walk: Walk) -> Any:
            return walk()

        meter = Meter(world.runtime, world.clock, settings, root, stopwatch=lambda: 0.0, aside=at_once)
        usage = (await meter.measure([made]))[made["metadata"]["uid"]]
        assert usage.memory == 3000
        assert set(usage.volumes) == {"scratch"}
        assert usage.local_volumes.inodes == 4  # two directories, the file of two names once, the link
        assert 10_000 <= usage.local_volumes.bytes < 40_000
        assert 9_000 <= usage.containers["app"].logs.bytes < 30_000
        # Not walked again at once, but later.
        (scratch / "more").write_bytes(b"x" * 10_000)
        again = (await meter.measure([made]))[made["metadata"]["uid"]]
        assert again.local_volumes == usage.local_volumes
        await asyncio.sleep(11)
        later = (await meter.measure([made]))[made["metadata"]["uid"]]
        assert later.local_volumes.inodes == 5
        assert not await meter.measure([])

    play(tmp_path, story)


def test_who_measures_is_told_of_every_pod_it_asks_about_although_another_measures_without_it(tmp_path: Path) -> None:
    """The eviction's looks and those of whoever reads metrics go on side by side, and pods go meanwhile."""

    async def story(world: World) -> None:
        stays, goes = await world.create(pod()), await world.create(pod("goes"))
        await world.wait(lambda one: one["phase"] == "Running", "goes")

        async def aside(walk: Walk) -> Any:
            await world.clock.sleep(1)
            return walk()

        meter = Meter(world.runtime, world.clock, world.tools.settings, stopwatch=lambda: 0.0, aside=aside)
        await meter.measure([goes])
        async with asyncio.TaskGroup() as group:
            first = group.create_task(meter.measure([goes, stays]))
            await world.clock.sleep(0.5)
            second = group.create_task(meter.measure([stays]))
        assert set(first.result()) == {goes["metadata"]["uid"], stays["metadata"]["uid"]}
        assert set(second.result()) == {stays["metadata"]["uid"]}

    play(tmp_path, story)


@pytest.mark.parametrize(("vanishing", "counted"), [(2, 1), (10, 0)])
def test_a_container_that_vanishes_while_it_is_counted_does_not_hide_the_others(
    tmp_path: Path, vanishing: int, counted: int
) -> None:
    """containerd 1.6 answers with an error then; nothing that may go on for ever is repeated for ever."""

    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        meter = Meter(world.runtime, world.clock, world.tools.settings)
        world.runtime.vanishing = vanishing
        await meter.measure([])
        assert len(meter.containers) == counted

    play(tmp_path, story)
