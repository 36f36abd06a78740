"""Limits change while containers run: what is granted, in which order, and what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.node.world import World, container, play, pod

from kontinuum.api.kubernetes.resources import PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.node import cgroups, qos, resize
from kontinuum.node.cgroups import PodLimits
from kontinuum.node.resize import Room


def sized(cpu: str, memory: str, *, name: str = "app", **more: object) -> Object:
    """A Guaranteed container."""
    amounts = {"cpu": cpu, "memory": memory}
    return container(name, resources={"requests": amounts, "limits": amounts}, **more)


def amounts(status: Object) -> Object:
    (one,) = status["containerStatuses"]
    return {"allocated": one.get("allocatedResources"), "held": (one.get("resources") or {}).get("limits")}


async def ask(world: World, one: Object) -> None:
    """What the API's ``resize`` subresource would write."""
    generation = (await world.get())["metadata"].get("generation") or 0
    patch = {"metadata": {"generation": generation + 1}, "spec": {"containers": [one]}}
    await world.client.patch(PODS, "p", patch, namespace="default")


def test_a_running_container_gets_other_limits_without_a_restart(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("100m", "64Mi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        await ask(world, sized("200m", "128Mi"))
        status = await world.wait(lambda one: amounts(one)["held"] == {"cpu": "200m", "memory": "128Mi"})
        assert amounts(status)["allocated"] == {"cpu": "200m", "memory": "128Mi"}
        assert not [one for one in status["conditions"] if one["type"].startswith("PodResize")]
        ((_, limits),) = world.runtime.updates
        assert (limits["cpu_quota"], limits["memory_limit_in_bytes"]) == (20_000, 128 << 20)
        assert status["containerStatuses"][0]["restartCount"] == 0
        parent = cgroup_directory(world)
        assert (parent / "memory.limit_in_bytes").read_text() == str(128 << 20)

    told = play(tmp_path, story).events.reasons
    assert told[-2:] == ["ResizeStarted", "ResizeCompleted"]


def cgroup_directory(world: World) -> Path:
    (parent,) = (world.tools.cgroup_root / "memory" / qos.of_all(world.tools.settings).lstrip("/")).glob("**/pod*")
    return parent


def test_equal_amounts_written_otherwise_are_no_resize(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("1", "1Gi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        await ask(world, sized("1000m", "1024Mi"))
        await world.wait(lambda one: amounts(one)["held"] == {"cpu": "1000m", "memory": "1024Mi"})
        assert not world.runtime.updates

    play(tmp_path, story)


def test_a_container_that_must_restart_for_it_does(tmp_path: Path) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]

    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("100m", "64Mi", resizePolicy=policy)]))
        await world.wait(lambda one: one["phase"] == "Running")
        await ask(world, sized("100m", "128Mi", resizePolicy=policy))
        status = await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 1
                                  and "running" in one["containerStatuses"][0]["state"])  # fmt: skip
        assert amounts(status)["held"] == {"cpu": "100m", "memory": "128Mi"}
        assert not world.runtime.updates

    world = play(tmp_path, story)
    assert ("Killing", "Container app resize requires restart") in world.events.told
    assert [one for one in world.events.reasons if "Resize" in one] == ["ResizeStarted", "ResizeCompleted"]


def test_what_the_node_never_has_is_infeasible_and_what_others_hold_is_deferred(tmp_path: Path) -> None:
    """The world's node has 2 cpus."""

    async def story(world: World) -> None:
        other = pod(containers=[sized("1500m", "64Mi")])
        other["metadata"]["name"] = "other"
        await world.create(other)
        await world.create(pod(containers=[sized("100m", "64Mi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.wait(lambda one: one["phase"] == "Running", "other")
        await ask(world, sized("3", "64Mi"))
        assert (
            await pending(world, "Infeasible")
            == "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"
        )
        await ask(world, sized("1", "64Mi"))
        assert (await pending(world, "Deferred")).startswith("Node didn't have enough resource: cpu")
        assert amounts((await world.get())["status"])["held"] == {"cpu": "100m", "memory": "64Mi"}
        await world.client.delete(PODS, "other", namespace="default", grace_seconds=0)
        await world.wait(lambda one: amounts(one)["held"] == {"cpu": "1", "memory": "64Mi"})

    play(tmp_path, story)


async def pending(world: World, reason: str) -> str:
    status = await world.wait(
        lambda one: [c for c in one["conditions"] if c["type"] == "PodResizePending" and c.get("reason") == reason]
    )
    (condition,) = [one for one in status["conditions"] if one["type"] == "PodResizePending"]
    return str(condition["message"])


def test_what_was_granted_outlives_the_agent(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("100m", "64Mi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.stop()
        await ask(world, sized("3", "64Mi"))
        await world.start()
        await pending(world, "Infeasible")
        await asyncio.sleep(10)
        assert amounts((await world.get())["status"])["held"] == {"cpu": "100m", "memory": "64Mi"}
        await world.stop()
        await ask(world, sized("200m", "64Mi"))
        await world.start()
        await world.wait(lambda one: amounts(one)["held"] == {"cpu": "200m", "memory": "64Mi"})

    play(tmp_path, story)


def test_a_runtime_that_refuses_is_asked_again_and_the_pod_says_why(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("100m", "64Mi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        world.runtime.failures["update_container"] = 3
        await ask(world, sized("200m", "64Mi"))
        status = await world.wait(
            lambda one: [
                c for c in one["conditions"] if c["type"] == "PodResizeInProgress" and c.get("reason") == "Error"
            ]
        )
        assert amounts(status) == {
            "allocated": {"cpu": "200m", "memory": "64Mi"},
            "held": {"cpu": "100m", "memory": "64Mi"},
        }
        await world.wait(lambda one: amounts(one)["held"] == {"cpu": "200m", "memory": "64Mi"})

    assert play(tmp_path, story).events.reasons.count("ResizeError") == 1


def test_no_container_gets_less_memory_than_it_uses(tmp_path: Path) -> None:
    """Every container of the fake runtime uses 10 MiB. What could be granted still is, and what is held stays."""

    async def story(world: World) -> None:
        await world.create(pod(containers=[sized("100m", "64Mi")]))
        await world.wait(lambda one: one["phase"] == "Running")
        await ask(world, sized("100m", "11Mi"))
        await world.wait(lambda one: amounts(one)["held"] == {"cpu": "100m", "memory": "11Mi"})
        await ask(world, sized("100m", "10Ki"))
        status = await world.wait(
            lambda one: [
                c for c in one["conditions"] if c["type"] == "PodResizeInProgress" and c.get("reason") == "Error"
            ]
        )
        (found,) = [one["message"] for one in status["conditions"] if one["type"] == "PodResizeInProgress"]
        assert found == (
            "cannot decrease memory limits: "
            'attempting to set container "app" memory limit (10240) below current usage (10485760)'
        )
        assert amounts(status)["held"] == {"cpu": "100m", "memory": "11Mi"}
        assert world.runtime.updates[-1][1]["memory_limit_in_bytes"] == 11 << 20
        await ask(world, sized("100m", "64Mi"))
        status = await world.wait(lambda one: amounts(one)["held"] == {"cpu": "100m", "memory": "64Mi"})
        assert not [one for one in status["conditions"] if one["type"].startswith("PodResize")]

    play(tmp_path, story)


def test_what_is_in_use_is_asked_for_where_memory_gets_less_only() -> None:
    def decreases(before: tuple[str, str], now: tuple[str, str]) -> dict[str, int]:
        return resize.memory_decreases([(sized(*now), resize.wished(sized(*before)))])

    assert decreases(("100m", "64Mi"), ("50m", "64Mi")) == {}
    assert decreases(("100m", "64Mi"), ("100m", "65Mi")) == {}
    assert decreases(("100m", "64Mi"), ("100m", "63Mi")) == {"app": 63 << 20}
    assert resize.memory_decreases([(sized("100m", "1Mi"), {})]) == {"app": 1 << 20}


def test_containers_that_can_be_resized_tell_their_resources_though_they_have_none(tmp_path: Path) -> None:
    """A client that compares them finds an empty member there, as a kubelet writes it (KEP-1287)."""

    async def story(world: World) -> None:
        await world.create(pod(initContainers=[container("first")], containers=[container("app")]))
        await world.wait(
            lambda one: one["phase"] == "Pending" and "running" in one["initContainerStatuses"][0]["state"]
        )
        world.runtime.kill("first", 0)
        status = await world.wait(lambda one: one["phase"] == "Running")
        assert "resources" not in status["initContainerStatuses"][0]
        (app,) = status["containerStatuses"]
        assert app["resources"] == {}
        assert "allocatedResources" not in app

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("wish", "machine", "reason"),
    [
        (("500m", "64Mi"), Room(1000, 64 << 20), None),
        (("2", "64Mi"), Room(1000, 64 << 20), "Infeasible"),
        (("500m", "65Mi"), Room(1000, 64 << 20), "Infeasible"),
        (("500m", "65Mi"), Room(1000, 0), None),
    ],
)
def test_a_machine_stays_as_large_as_it_is(wish: tuple[str, str], machine: Room, reason: str | None) -> None:
    found = resize.verdict(pod(containers=[sized(*wish)]), [], Room(4000, 1 << 30), machine)
    assert (found.reason if found else None) == reason


def test_between_two_limits_a_pod_may_have_the_larger_and_none_is_the_largest() -> None:
    one, other = PodLimits(100, 200, 1000, 5), PodLimits(50, 0, 2000, 5)
    assert cgroups.loosest(one, other) == PodLimits(100, 0, 2000, 5)


def test_a_container_that_looks_around_starts_once_and_counts_for_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        debugger = {"name": "look", "image": "app:1", "targetContainerName": "app"}
        await world.client.patch(PODS, "p", {"spec": {"ephemeralContainers": [debugger]}}, namespace="default")
        status = await world.wait(lambda one: one.get("ephemeralContainerStatuses")
                                  and "running" in one["ephemeralContainerStatuses"][0]["state"])  # fmt: skip
        assert status["ephemeralContainerStatuses"][0]["ready"] is False
        assert status["phase"] == "Running"
        id_ = status["ephemeralContainerStatuses"][0]["containerID"].removeprefix("containerd://")
        world.runtime._end(id_, 0)
        await world.wait(lambda one: "terminated" in one["ephemeralContainerStatuses"][0]["state"])
        await asyncio.sleep(30)
        assert world.runtime.starts["look"] == 1

    play(tmp_path, story)
