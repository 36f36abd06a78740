"""Whole lives of pods in virtual time: the real agent and workers against a fake runtime."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from tests.node.fake_runtime import Program
from tests.node.world import World, container, play, pod, state, waiting

from kontinuum.api.kubernetes.resources import PODS, RUNTIMECLASSES
from kontinuum.api.machinery.objects import Object


def test_a_pod_runs_and_its_deletion_leaves_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        status = await world.wait(lambda one: one["phase"] == "Running")
        assert status["podIP"].startswith("10.0.0.")
        await world.delete()
        await asyncio.sleep(5)
        assert not await world.exists()
        assert not world.runtime.sandboxes
        assert not world.runtime.containers
        assert not list((world.tools.settings.data / "pods").iterdir())

    events = play(tmp_path, story).events
    assert events.reasons == ["Pulled", "Created", "Started", "Killing"]
    assert events.parts == [(reason, "spec.containers{app}") for reason in events.reasons]


def test_nothing_waits_between_apply_and_running_but_the_runtime(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(1)
        began = world.clock.monotonic()
        await world.create(pod())
        while (await world.get()).get("status", {}).get("phase") != "Running":
            await asyncio.sleep(0.001)
        # The fake's own calls take 0.21 s (sandbox, create, start) and 0.01 s for each look.
        assert world.clock.monotonic() - began < 0.3

    play(tmp_path, story)


def test_crashes_wait_ten_seconds_doubling(tmp_path: Path) -> None:
    starts: list[float] = []

    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=1, exit_code=3)]
        await world.create(pod())
        seen = 0
        while len(starts) < 5:
            if world.runtime.starts["app"] != seen:
                seen = world.runtime.starts["app"]
                starts.append(world.clock.monotonic())
            await asyncio.sleep(0.1)
        status = await world.wait(lambda one: waiting(one) == "CrashLoopBackOff")
        assert status["containerStatuses"][0]["restartCount"] == 4
        assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3

    play(tmp_path, story)
    gaps = [round(later - earlier) for earlier, later in pairwise(starts)]
    assert [gap // 10 * 10 for gap in gaps] == [0, 10, 20, 40]


def test_ten_good_minutes_forgive_earlier_crashes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        crash, good = Program(seconds=1, exit_code=1), Program(seconds=700, exit_code=1)
        world.runtime.programs["app"] = [crash, crash, good, Program()]
        await world.create(pod())
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 2 and "running" in state(one))
        await asyncio.sleep(702)
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 3 and "running" in state(one),
                         seconds=5)  # fmt: skip

    play(tmp_path, story)


def test_back_off_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=1, exit_code=3)]
        await world.create(pod())
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 3 and "waiting" in state(one))
        await world.stop()
        starts = world.runtime.starts["app"]
        await world.start()
        await asyncio.sleep(30)
        assert world.runtime.starts["app"] == starts
        await asyncio.sleep(15)
        assert world.runtime.starts["app"] == starts + 1

    play(tmp_path, story)


def test_a_restarted_agent_touches_nothing_that_runs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        before, status = dict(world.runtime.containers), (await world.get())["status"]
        await world.stop()
        await world.start()
        await asyncio.sleep(60)
        assert world.runtime.containers == before
        assert (await world.get())["status"] == status

    play(tmp_path, story)


def test_a_runtime_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.is_away = True
        await world.create(pod())
        await asyncio.sleep(20)
        world.runtime.is_away = False
        await world.wait(lambda one: one["phase"] == "Running", seconds=10)
        world.runtime.is_away = True
        await asyncio.sleep(20)
        assert (await world.get())["status"]["phase"] == "Running"

    play(tmp_path, story)


def test_an_answer_that_nobody_expected_fells_no_agent_and_disturbs_no_pod(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda status: status["phase"] == "Running")
        called = len(world.runtime.calls)
        world.runtime.surprises["fingerprints"] = 3
        await asyncio.sleep(30)
        assert set(world.runtime.calls[called:]) <= {"fingerprints", "observe"}, "whoever runs is only looked at"
        world.runtime.kill("app")
        await world.wait(lambda status: status["containerStatuses"][0]["restartCount"] == 1)
        await world.stop()  # Raises what the agent fell for.

    play(tmp_path, story)


def test_a_sandbox_that_fails_is_tried_again_under_another_number(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.failures["run_sandbox"] = 2
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        assert world.events.reasons.count("FailedCreatePodSandBox") == 2

    play(tmp_path, story)


def test_what_limits_no_traffic_sensibly_is_told_before_the_runtime_has_made_anything(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        one = pod()
        one["metadata"]["annotations"] = {"kubernetes.io/ingress-bandwidth": "fast"}
        await world.create(one)
        await asyncio.sleep(5)
        assert "run_sandbox" not in world.runtime.calls
        await world.delete()
        await asyncio.sleep(5)
        assert not await world.exists()

    assert "FailedCreatePodSandBox" in play(tmp_path, story).events.reasons


def test_a_lost_sandbox_is_replaced_and_init_containers_run_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.init_names = {"init"}
        world.runtime.programs["init"] = [Program(seconds=1)]
        await world.create(pod(initContainers=[container("init")]))
        await world.wait(lambda one: one["phase"] == "Running")
        world.runtime.lose_sandbox()
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 1 and "running" in state(one))
        assert world.runtime.starts["init"] == 2

    play(tmp_path, story)


def test_a_start_that_fails_with_its_sandbox_is_no_attempt_at_the_container(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=1, exit_code=137), Program(loses_sandbox=True), Program()]
        await world.create(pod())
        await world.wait(lambda one: "running" in state(one) and world.runtime.starts["app"] == 3)
        app = (await world.get())["status"]["containerStatuses"][0]
        ended = app["lastState"]["terminated"]
        assert (app["restartCount"], ended["reason"], ended["exitCode"]) == (1, "Error", 137)

    events = play(tmp_path, story).events
    assert "Failed" not in events.reasons
    assert events.reasons.count("SandboxChanged") == 1


@pytest.mark.parametrize("failures", [0, 1], ids=["it is not there", "its shim fails"])
def test_a_container_that_its_dead_sandbox_does_not_take_is_made_at_once_in_the_next(
    tmp_path: Path, failures: int
) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=1, exit_code=137), Program()]
        await world.create(pod())
        await world.wait(lambda one: "running" in state(one))
        world.runtime.loses_sandbox_next = True
        world.runtime.failures["create_container"] = failures
        await world.wait(lambda one: "running" in state(one) and one["containerStatuses"][0]["restartCount"] == 1)

    assert "Failed" not in play(tmp_path, story).events.reasons


def test_an_image_that_is_missing_is_pulled_later_and_later(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.images.clear()
        await world.create(pod())
        await world.wait(lambda one: waiting(one) == "ErrImagePull")
        await world.wait(lambda one: waiting(one) == "ImagePullBackOff")
        await asyncio.sleep(100)
        assert world.runtime.calls.count("pull") == 4  # at 0, 10, 30 and 70 seconds
        world.runtime.registry["docker.io/library/app:1"] = 2
        await world.wait(lambda one: one["phase"] == "Running", seconds=100)

    play(tmp_path, story)


def test_deletion_does_not_wait_for_a_long_pull(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.images.clear()
        world.runtime.registry["docker.io/library/app:1"] = 1000
        await world.create(pod())
        await asyncio.sleep(5)
        await world.delete()
        await asyncio.sleep(5)
        assert not await world.exists()
        assert not world.runtime.sandboxes

    play(tmp_path, story)


def test_deletion_does_not_wait_for_a_machine_that_does_not_boot(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(start_seconds=100)]
        await world.create(pod())
        await asyncio.sleep(5)
        await world.delete()
        await asyncio.sleep(5)
        assert not await world.exists()

    play(tmp_path, story)


def test_a_long_pull_of_one_container_does_not_hold_up_another(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.registry["docker.io/library/big:1"] = 100
        await world.create(pod(containers=[container("big", image="big:1"), container("app")]))
        status = await world.wait(lambda one: "running" in state(one, 1), seconds=5)
        assert waiting(status) == "ContainerCreating"

    play(tmp_path, story)


def test_grace_is_given_and_a_second_deletion_shortens_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        await world.create(pod(terminationGracePeriodSeconds=600))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.delete()
        await asyncio.sleep(60)
        assert world.runtime.running() == ["app"]
        await world.delete(grace=2)
        await asyncio.sleep(5)
        assert not await world.exists()

    play(tmp_path, story)


def test_sidecars_end_after_all_others(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        beside = [container(name, restartPolicy="Always") for name in ("first", "second")]
        await world.create(pod(initContainers=beside, terminationGracePeriodSeconds=20))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.delete(grace=7)
        await asyncio.sleep(6)
        assert world.runtime.stops == [("app", 7)]
        await asyncio.sleep(10)
        assert not await world.exists()
        # Their grace is the pod's, and has run out with the one who did not listen: a moment is left to each, and to
        # both the same.
        assert sorted(world.runtime.stops[1:]) == [("first", 2), ("second", 2)]

    play(tmp_path, story)


def test_sidecars_of_a_pod_that_is_deleted_end_one_after_the_other_the_last_to_start_first(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        beside = [container(name, restartPolicy="Always") for name in ("first", "second")]
        await world.create(pod(initContainers=beside, terminationGracePeriodSeconds=20))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.delete()
        await asyncio.sleep(15)
        assert not await world.exists()
        assert world.runtime.stops == [("app", 20), ("second", 20), ("first", 20)]

    play(tmp_path, story)


def test_sidecars_of_a_job_end_when_it_has_and_have_their_whole_grace(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=2)]
        beside = [container(name, restartPolicy="Always") for name in ("first", "second")]
        await world.create(pod(initContainers=beside, restartPolicy="Never", terminationGracePeriodSeconds=20))
        await world.wait(lambda one: one["phase"] == "Succeeded")
        await asyncio.sleep(5)
        assert world.runtime.stops == [("second", 20), ("first", 20)]

    play(tmp_path, story)


def test_a_hook_that_takes_all_the_grace_leaves_a_moment(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.checks.seconds = 100
        hook = {"preStop": {"exec": {"command": ["sleep", "100"]}}}
        await world.create(pod(containers=[container("app", lifecycle=hook)], terminationGracePeriodSeconds=9))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.delete()
        await asyncio.sleep(15)
        assert not await world.exists()
        assert world.runtime.stops == [("app", 2)]

    # What the hook said is for the node's log: it may hold secrets.
    assert ("FailedPreStopHook", "PreStopHook failed") in play(tmp_path, story).events.told


def test_a_pod_that_the_api_forgets_is_ended(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        await world.delete(grace=0)
        await asyncio.sleep(5)
        assert not world.runtime.sandboxes

    play(tmp_path, story)


def test_a_pod_of_the_same_name_is_another_pod(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        first = (await world.wait(lambda one: one["phase"] == "Running"))["podIP"]
        await world.delete(grace=0)
        await world.create(pod())
        second = (await world.wait(lambda one: one["phase"] == "Running"))["podIP"]
        assert first != second
        await asyncio.sleep(10)
        assert world.runtime.running() == ["app"]

    play(tmp_path, story)


def test_a_job_that_ended_is_reported_and_its_sandbox_stopped(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(seconds=2)]
        await world.create(pod(restartPolicy="Never"))
        await world.wait(lambda one: one["phase"] == "Succeeded")
        await asyncio.sleep(5)
        assert not any(one.is_ready for one in world.runtime.sandboxes.values())
        assert world.runtime.starts["app"] == 1

    play(tmp_path, story)


def test_a_deadline_ends_the_pod_as_failed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(activeDeadlineSeconds=30))
        await world.wait(lambda one: one["phase"] == "Running")
        status = await world.wait(lambda one: one["phase"] == "Failed")
        assert status["reason"] == "DeadlineExceeded"
        await asyncio.sleep(5)
        assert world.runtime.running() == []

    play(tmp_path, story)


def test_readiness_follows_its_probe(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 2}
        await world.create(pod(containers=[container("app", readinessProbe=probe)]))
        await world.wait(lambda one: one["containerStatuses"][0]["ready"])
        world.checks.is_well = False
        await world.wait(lambda one: not one["containerStatuses"][0]["ready"], seconds=5)
        assert world.runtime.running() == ["app"]

    play(tmp_path, story)


def test_a_probe_that_cannot_be_made_says_nothing_about_the_container(tmp_path: Path) -> None:
    """The runtime that is away for a minute must not cost every probed container its life."""

    async def story(world: World) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 2}
        await world.create(pod(containers=[container("app", readinessProbe=probe, livenessProbe=probe)]))
        await world.wait(lambda one: one["containerStatuses"][0]["ready"])
        world.checks.is_impossible = True
        uid = (await world.get())["metadata"]["uid"]
        counted = world.tools.probe_counts.render([uid])
        await asyncio.sleep(60)
        assert world.tools.probe_counts.render([uid]) == counted
        status = (await world.get())["status"]["containerStatuses"][0]
        assert (status["ready"], status["restartCount"]) == (True, 0)

    said = "Liveness probe errored and resulted in unknown state: failed to exec in container"
    assert ("Unhealthy", said) in play(tmp_path, story).events.told


def test_a_probe_is_tried_three_times_before_it_is_told_that_it_cannot_be_made(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 60}
        world.checks.impossible_times = 2
        await world.create(pod(containers=[container("app", readinessProbe=probe)]))
        await world.wait(lambda one: one["containerStatuses"][0]["ready"], seconds=5)
        assert (world.checks.asked, world.events.reasons.count("Unhealthy")) == (3, 0)
        world.checks.impossible_times = 3
        await asyncio.sleep(60)
        assert (world.checks.asked, world.events.reasons.count("Unhealthy")) == (6, 1)

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ({"exec": {"command": ["a", "b"]}}, 'command timed out: "a b" timed out after 1s'),
        ({"tcpSocket": {"port": 1}}, "context deadline exceeded"),
    ],
)
def test_a_check_that_never_ends_has_failed_and_it_is_said_why(tmp_path: Path, handler: Object, said: str) -> None:
    async def story(world: World) -> None:
        world.checks.never_ends = True
        await world.create(pod(containers=[container("app", readinessProbe={**handler, "periodSeconds": 1})]))
        await world.wait(lambda one: one["phase"] == "Running")
        await asyncio.sleep(5)

    assert ("Unhealthy", f"Readiness probe failed: {said}") in play(tmp_path, story).events.told


@pytest.mark.parametrize("trouble", ["is_impossible", "is_unwell"])
def test_a_container_whose_hook_after_the_start_fails_is_ended_and_what_the_hook_said_is_not_told(
    tmp_path: Path, trouble: str
) -> None:
    async def story(world: World) -> None:
        world.checks.is_impossible, world.checks.is_well = trouble == "is_impossible", trouble != "is_unwell"
        hook = {"postStart": {"exec": {"command": ["x"]}}}
        await world.create(pod(restartPolicy="Never", containers=[container("app", lifecycle=hook)]))
        await world.wait(lambda one: one["phase"] == "Failed")
        assert world.runtime.running() == []

    told = play(tmp_path, story).events.told
    assert ("FailedPostStartHook", "PostStartHook failed") in told
    assert ("Killing", "FailedPostStartHook") in told


def test_the_status_says_what_a_hook_after_the_start_failed_with(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.checks.is_well = False
        hook = {"postStart": {"exec": {"command": ["x", "y"]}}}
        await world.create(pod(containers=[container("app", lifecycle=hook)]))
        found = await world.wait(lambda one: bool(waiting(one)) and waiting(one)["reason"] == "PostStartHookError")
        said = waiting(found)["message"]
        assert said.startswith('Exec lifecycle hook ([x y]) for Container "app" in Pod "')
        await world.wait(lambda one: waiting(one).get("reason") == "CrashLoopBackOff")

    def waiting(status: Object) -> Object:
        found: Object = (status.get("containerStatuses") or [{}])[0].get("state", {}).get("waiting") or {}
        return found

    play(tmp_path, story)


def test_who_is_ending_says_whether_he_can_serve_and_is_not_killed_for_being_unwell(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.programs["app"] = [Program(ignores_term=True)]
        probe = {"periodSeconds": 1, "exec": {"command": ["x"]}, "failureThreshold": 1}
        await world.create(pod(containers=[container("app", readinessProbe=probe, livenessProbe=probe)]))
        await world.wait(lambda one: one["containerStatuses"][0]["ready"])
        began = world.clock.monotonic()
        await world.delete(grace=20)
        await asyncio.sleep(3)
        world.checks.is_well = False
        await world.wait(lambda one: not one["containerStatuses"][0]["ready"], seconds=5)
        while await world.exists():
            await asyncio.sleep(0.1)
        assert world.clock.monotonic() - began >= 20
        assert world.runtime.starts["app"] == 1

    told = play(tmp_path, story).events.told
    assert any(message.startswith("Readiness") for _, message in told)
    assert not any(message.startswith("Liveness") for _, message in told)


def test_liveness_waits_for_the_startup_probe_and_then_restarts(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        slow = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 30}
        quick = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
        world.checks.is_well = False
        await world.create(pod(containers=[container("app", startupProbe=slow, livenessProbe=quick)]))
        await asyncio.sleep(10)
        assert world.runtime.starts["app"] == 1
        assert not (await world.get())["status"]["containerStatuses"][0]["ready"]
        world.checks.is_well = True
        await world.wait(lambda one: one["containerStatuses"][0]["ready"])
        world.checks.is_well = False
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 1)

    world = play(tmp_path, story)
    assert ("Killing", "Container app failed liveness probe, will be restarted") in world.events.told


@pytest.mark.parametrize(("policy", "restarts"), [("Always", 1), ("OnFailure", 1), ("Never", 0)])
def test_who_fails_a_probe_runs_again_even_if_it_answers_the_signal_with_success(
    tmp_path: Path, policy: str, restarts: int
) -> None:
    """The kubelet stops and starts it in one go, without asking how it ended; only Never is never."""

    async def story(world: World) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
        await world.create(pod(restartPolicy=policy, containers=[container("app", livenessProbe=probe)]))
        await world.wait(lambda one: one["phase"] == "Running")
        world.runtime.programs["app"] = [Program(term_code=0)]
        world.checks.is_well = False
        killed = "Container app failed liveness probe" + (", will be restarted" if restarts else "")
        async with asyncio.timeout(60):
            while ("Killing", killed) not in world.events.told:
                await asyncio.sleep(0.1)
        world.checks.is_well = True
        await world.wait(lambda one: one["phase"] == ("Running" if restarts else "Succeeded"))
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == restarts)
        await asyncio.sleep(60)
        assert (await world.get())["status"]["phase"] == ("Running" if restarts else "Succeeded")

    play(tmp_path, story)


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_changed_image_is_run_whatever_the_policy_says_of_ends(tmp_path: Path, policy: str) -> None:
    async def story(world: World) -> None:
        world.runtime.images.add("docker.io/library/app:2")
        await world.create(pod(restartPolicy=policy))
        await world.wait(lambda one: one["phase"] == "Running")
        await world.client.patch(
            PODS, "p", {"spec": {"containers": [container("app", image="app:2")]}}, namespace="default"
        )
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 1)
        await world.wait(lambda one: one["phase"] == "Running")

    play(tmp_path, story)


def test_a_changed_image_restarts_the_container_with_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime.images.add("docker.io/library/app:2")
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        changed = (await world.get())["spec"]["containers"]
        changed[0]["image"] = "app:2"
        await world.client.patch(PODS, "p", {"spec": {"containers": changed}}, namespace="default")
        status = await world.wait(
            lambda one: one["containerStatuses"][0]["restartCount"] == 1 and "running" in state(one)
        )
        assert status["containerStatuses"][0]["imageID"] == "id of docker.io/library/app:2"

    play(tmp_path, story)


def test_an_api_server_that_is_away_disturbs_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod())
        await world.wait(lambda one: one["phase"] == "Running")
        world.api.drop_watches()
        world.runtime.kill("app")
        await world.wait(lambda one: one["containerStatuses"][0]["restartCount"] == 1)

    play(tmp_path, story)


def test_a_class_of_any_name_is_run_by_its_handler(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.create(pod(runtimeClassName="mine"))
        await asyncio.sleep(5)
        assert not world.runtime.sandboxes
        made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "mine"}, "handler": "fast"}
        await world.client.create(RUNTIMECLASSES, made)
        await world.wait(lambda one: one["phase"] == "Running")
        (sandbox,) = world.runtime.sandboxes.values()
        assert sandbox.handler == "fast"

    told = play(tmp_path, story).events.told
    assert ("FailedCreatePodSandBox", 'Failed to create pod sandbox: RuntimeClass.node.k8s.io "mine" not found') in told
