"""What is told of a pod, case by case; and what must hold in every case."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.node.test_plan import (
    CONTAINERS,
    EXITED,
    NOW,
    POLICIES,
    RUNNING,
    SANDBOXES,
    WITH_INIT,
    attempt,
    deleting,
    sandbox,
)
from tests.node.world import container, pod, state, waiting

from kontinuum.api.machinery.objects import Object
from kontinuum.node.observed import Container, Observed, Sandbox, User
from kontinuum.node.remembered import PULL_BACKOFF, Ending, Remembered
from kontinuum.node.status import HostFacts, status
from kontinuum.node.status_writer import difference

HOST = HostFacts("192.0.2.1")


def told(obj: Object, containers: list[Container], remembered: Remembered | None = None, *, now: float = NOW) -> Object:
    box = Sandbox("s0", "u", "default", "p", 0, True, 0.0, "", ("10.0.0.7",))
    return status(obj, Observed.of([box], containers), remembered or Remembered(), HOST, now)


def conditions(found: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in found["conditions"]}


def test_before_anything_is_there_the_pod_is_pending() -> None:
    found = status(pod(), Observed(), Remembered(), HOST, NOW)
    assert found["phase"] == "Pending"
    assert waiting(found) == "ContainerCreating"
    assert "podIP" not in found
    assert conditions(found) == {"PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False",
                                 "ContainersReady": "False", "PodScheduled": "True"}  # fmt: skip


def test_containers_behind_init_containers_are_initialising() -> None:
    found = told(WITH_INIT, [attempt("i1")])
    assert found["phase"] == "Pending"
    assert waiting(found) == "PodInitializing"
    assert conditions(found)["Initialized"] == "False"
    message = next(one["message"] for one in found["conditions"] if one["type"] == "Initialized")
    assert message == "containers with incomplete status: [i1 i2]"


def test_a_running_pod_is_ready_and_has_its_address() -> None:
    found = told(pod(), [attempt("app")])
    assert (found["phase"], found["podIP"], found["hostIP"]) == ("Running", "10.0.0.7", "192.0.2.1")
    assert conditions(found)["Ready"] == "True"


def test_an_end_is_told_with_code_reason_and_times() -> None:
    found = told(pod(restartPolicy="Never"), [attempt("app", EXITED, exit_code=137, reason="OOMKilled")])
    assert found["phase"] == "Failed"
    ended = state(found)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert ended["finishedAt"] == "1970-01-01T00:16:20Z"
    assert conditions(found)["PodReadyToStartContainers"] == "False"
    reasons = {one["type"]: one.get("reason") for one in found["conditions"]}
    assert reasons["Ready"] == "PodFailed"


def test_a_crash_that_waits_shows_its_last_state() -> None:
    found = told(pod(), [attempt("app", EXITED, 2, exit_code=3)])
    assert waiting(found) == "CrashLoopBackOff"
    assert found["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    assert found["containerStatuses"][0]["restartCount"] == 2
    assert found["phase"] == "Running"


def test_a_restarted_container_shows_the_end_before() -> None:
    found = told(pod(), [attempt("app", RUNNING, 1), attempt("app", EXITED, 0, exit_code=9)])
    assert "running" in state(found)
    assert found["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 9


def test_a_failed_start_is_told_apart_from_a_crash() -> None:
    failed = attempt("app", EXITED, 1, exit_code=128, reason="StartError", message="no such file", started_at=0,
                     finished_at=NOW - 1)  # fmt: skip
    assert waiting(told(pod(), [failed])) == "RunContainerError"
    later = told(pod(), [failed], now=NOW + 5)
    assert waiting(later) == "CrashLoopBackOff"
    ended = later["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["message"], ended["exitCode"], ended["startedAt"]) == ("no such file", 128, "1970-01-01T00:00:00Z")


def test_what_had_not_begun_when_its_pod_was_ended_is_not_shown_as_waiting() -> None:
    """As the kubelet's TerminatePod: but of init containers the first alone, and none that waited for them."""
    over = Remembered(ending=Ending("DeadlineExceeded", "too long"))
    found = told(pod(), [], over)
    end = state(found)["terminated"]
    assert (found["phase"], end["reason"], end["exitCode"]) == ("Failed", "ContainerStatusUnknown", 137)
    assert end["message"] == "The container could not be located when the pod was terminated"
    assert end["startedAt"] is None
    first, second = container("first"), container("second")
    found = told(pod(initContainers=[first, second]), [], over)
    assert [list(one["state"]) for one in found["initContainerStatuses"]] == [["terminated"], ["waiting"]]
    assert waiting(found) == "PodInitializing"
    through = [attempt("second", EXITED, exit_code=0), attempt("first", EXITED, exit_code=0)]
    found = told(pod(initContainers=[first, second]), through, over)
    assert state(found)["terminated"]["reason"] == "ContainerStatusUnknown"


def test_the_status_says_what_became_of_each_mount() -> None:
    mounts = [{"name": "v", "mountPath": "/v", "subPath": "x"}, {"name": "w", "mountPath": "/w", "readOnly": True}]
    found = told(pod(containers=[container("app", volumeMounts=mounts)]), [attempt("app", RUNNING)])
    assert found["containerStatuses"][0]["volumeMounts"] == [
        {"name": "v", "mountPath": "/v"},
        {"name": "w", "mountPath": "/w", "readOnly": True, "recursiveReadOnly": "Disabled"},
    ]


def test_the_status_says_who_a_container_is_and_which_mounts_are_read_only_all_the_way_down() -> None:
    """Where the runtime tells: containerd from 2.0 on."""
    mounts = [{"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "IfPossible"}]
    known = replace(attempt("app", RUNNING), user=User(1000, 3000, (3000, 5000)), only_read_below=frozenset({"/v"}))
    shown = told(pod(containers=[container("app", volumeMounts=mounts)]), [known])["containerStatuses"][0]
    assert shown["volumeMounts"][0]["recursiveReadOnly"] == "Enabled"
    assert shown["user"] == {"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 5000]}}


def test_a_visitor_waits_for_nothing_that_would_make_it_started() -> None:
    visited = pod(ephemeralContainers=[container("visitor")])
    found = told(visited, [attempt("app", RUNNING), attempt("visitor", RUNNING)])
    assert "started" not in found["ephemeralContainerStatuses"][0]
    assert found["containerStatuses"][0]["started"] is True


def test_a_failed_hook_after_the_start_is_told_before_the_wait_that_follows() -> None:
    failed = attempt("app", EXITED, 1, exit_code=137, finished_at=NOW - 1)
    remembered = Remembered(failed_hooks={failed.id: "no such file"})
    told_first = told(pod(), [failed], remembered)
    assert state(told_first)["waiting"] == {"reason": "PostStartHookError", "message": "no such file"}
    assert told_first["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    assert waiting(told(pod(), [failed], remembered, now=NOW + 5)) == "CrashLoopBackOff"
    never = told(pod(restartPolicy="Never"), [failed], remembered)
    assert state(never)["terminated"]["exitCode"] == 137


def test_a_pull_that_failed_is_first_an_error_and_then_a_wait() -> None:
    remembered = Remembered()
    remembered.failed("app", "ErrImagePull", "not found", now=NOW, backoff=PULL_BACKOFF)
    assert waiting(told(pod(), [], remembered)) == "ErrImagePull"
    later = told(pod(), [], remembered, now=NOW + 3)
    assert state(later)["waiting"] == {
        "reason": "ImagePullBackOff", "message": 'Back-off pulling image "app:1": ErrImagePull: not found',
    }  # fmt: skip


def test_readiness_and_startup_probes_gate_readiness() -> None:
    probed = pod(containers=[container("app", readinessProbe={"exec": {}}, startupProbe={"exec": {}})])
    remembered = Remembered()
    assert told(probed, [attempt("app")], remembered)["containerStatuses"][0]["started"] is False
    remembered.started["app0"] = True
    assert told(probed, [attempt("app")], remembered)["containerStatuses"][0]["ready"] is False
    remembered.ready["app0"] = True
    assert told(probed, [attempt("app")], remembered)["containerStatuses"][0]["ready"] is True


def test_a_readiness_gate_that_nobody_opened_keeps_the_pod_unready() -> None:
    found = told(pod(readinessGates=[{"conditionType": "example.org/ok"}]), [attempt("app")])
    assert (conditions(found)["ContainersReady"], conditions(found)["Ready"]) == ("True", "False")


def test_what_others_wrote_stays() -> None:
    mine = {**pod(), "status": {"conditions": [{"type": "example.org/ok", "status": "True"}],
                                "startTime": "2026-01-01T00:00:00Z", "nominatedNodeName": "n"}}  # fmt: skip
    found = told(mine, [attempt("app")])
    assert conditions(found)["example.org/ok"] == "True"
    assert (found["startTime"], found["nominatedNodeName"]) == ("2026-01-01T00:00:00Z", "n")


def test_a_deleted_pod_that_ended_is_succeeded_or_failed_for_good() -> None:
    assert told(deleting(pod()), [attempt("app", EXITED)])["phase"] == "Succeeded"
    assert told(deleting(pod()), [attempt("app", EXITED, exit_code=143)])["phase"] == "Failed"
    assert told(deleting(pod()), [attempt("app")])["phase"] == "Running"


@given(SANDBOXES, CONTAINERS, POLICIES, st.booleans())
def test_every_status_keeps_kubernetes_rules(
    sandboxes: list[Sandbox], containers: list[Container], policy: str, is_deleting: bool
) -> None:
    wanted = {**WITH_INIT, "spec": {**WITH_INIT["spec"], "restartPolicy": policy}}
    wanted = deleting(wanted) if is_deleting else wanted
    observed = Observed.of(sandboxes, containers)
    found = status(wanted, observed, Remembered(), HOST, NOW)

    everything = found["containerStatuses"] + found["initContainerStatuses"]
    assert all(len(one["state"]) == 1 for one in everything), "a container is in exactly one state"
    assert all(not one["ready"] or "running" in one["state"] for one in found["containerStatuses"])
    if found["phase"] == "Succeeded":
        assert all(one["state"]["terminated"]["exitCode"] == 0 for one in found["containerStatuses"])
    if found["phase"] in ("Succeeded", "Failed"):
        assert conditions(found)["Ready"] == "False"
    if policy == "Always" and not is_deleting:
        assert found["phase"] in ("Pending", "Running"), "such a pod never ends by itself"
    # Told again of the same things, nothing changes: no status is written twice.
    assert difference(
        found, status({**wanted, "status": found}, observed, Remembered(), HOST, NOW + 1000)
    ) == {} or any("waiting" in one["state"] for one in everything)


def test_a_container_that_the_runtime_forgot_is_told_as_lost() -> None:
    running = {**pod(restartPolicy="Never"), "status": told(pod(restartPolicy="Never"), [attempt("app")])}
    found = status(running, Observed(), Remembered(), HOST, NOW)
    assert found["phase"] == "Failed"
    assert state(found)["terminated"]["reason"] == "ContainerStatusUnknown"
    assert state(found)["terminated"]["message"].endswith("The container used to be Running")
    assert state(found)["terminated"]["exitCode"] == 137


def test_a_sandbox_alone_makes_no_container_run() -> None:
    found = status(pod(), Observed.of([sandbox()], []), Remembered(), HOST, NOW)
    assert found["phase"] == "Pending"
    assert conditions(found)["PodReadyToStartContainers"] == "True"
