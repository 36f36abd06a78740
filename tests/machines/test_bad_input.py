"""Bad input gets the answer Kubernetes gives: a Status, an event or a waiting reason; and nothing hangs."""

from __future__ import annotations

import json

import pytest
from tests.machines.platform import CLASSES, Platform, pod, wait_until

pytestmark = pytest.mark.machine


@pytest.fixture(params=CLASSES)
def isolation_class(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def refusal(platform: Platform, manifest: dict[str, object]) -> str:
    """What kubectl prints when it tries to create ``manifest``, which must be refused."""
    done = platform.kubectl("create", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def servers_refusal(platform: Platform, manifest: dict[str, object]) -> str:
    """The same by a raw request: kubectl before 1.27 finds unknown fields and wrong types before the server can."""
    path = "/api/v1/namespaces/default/pods?fieldValidation=Strict"
    done = platform.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(manifest), check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_an_unknown_field_is_named_with_its_path(platform: Platform) -> None:
    said = servers_refusal(platform, pod("bad-field", "container", container={"imagePullPolice": "Never"}))
    assert 'strict decoding error: unknown field "spec.containers[0].imagePullPolice"' in said


def test_a_wrong_type_is_a_bad_request(platform: Platform) -> None:
    said = servers_refusal(platform, pod("bad-type", "container", terminationGracePeriodSeconds="soon"))
    assert "BadRequest" in said and "terminationGracePeriodSeconds" in said


def test_an_invalid_value_is_named_with_its_path(platform: Platform) -> None:
    said = refusal(platform, pod("Bad_Name", "container"))
    assert (
        'The Pod "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'
        in said
    )


def test_requests_above_limits_are_invalid(platform: Platform) -> None:
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    said = refusal(platform, pod("bad-requests", "container", container={"resources": resources}))
    assert (
        'spec.containers[0].resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit'
        in said
    )


def test_an_unknown_runtime_class_is_forbidden(platform: Platform) -> None:
    said = refusal(platform, pod("no-class", "hovercraft"))
    assert 'pods "no-class" is forbidden: pod rejected: RuntimeClass "hovercraft" not found' in said


def test_a_missing_image_waits_with_its_reason_and_an_event(platform: Platform, isolation_class: str) -> None:
    name = f"no-image-{isolation_class}"
    platform.apply(pod(name, isolation_class, container={"image": "127.0.0.1:1/nowhere:1"}))
    status = platform.wait_waiting(name, "ImagePullBackOff")
    assert "127.0.0.1:1/nowhere:1" in status["state"]["waiting"]["message"]
    told = [event["message"] for event in platform.events(name) if event["reason"] == "Failed"]
    assert any("Failed to pull image" in message for message in told), told
    platform.delete("pod", name)


def test_an_image_that_may_not_be_pulled_says_never(platform: Platform, isolation_class: str) -> None:
    name = f"never-{isolation_class}"
    image = {"image": "localhost/absent:1", "imagePullPolicy": "Never"}
    platform.apply(pod(name, isolation_class, container=image))
    platform.wait_waiting(name, "ErrImageNeverPull")
    platform.delete("pod", name)


def test_a_malformed_image_name_is_said_to_be_one(platform: Platform, isolation_class: str) -> None:
    name = f"image-name-{isolation_class}"
    platform.apply(pod(name, isolation_class, container={"image": "Not//An:::Image"}))
    platform.wait_waiting(name, "InvalidImageName")
    platform.delete("pod", name)


def test_a_missing_command_is_an_error_of_the_container(platform: Platform, isolation_class: str) -> None:
    name = f"no-command-{isolation_class}"
    platform.apply(pod(name, isolation_class, container={"command": ["/no/such/command"]}, restartPolicy="Never"))

    def terminated() -> dict[str, object] | None:
        statuses = platform.get("pod", name)["status"].get("containerStatuses", [])
        return statuses[0]["state"].get("terminated") if statuses else None

    ended = wait_until(f"{name} to fail", terminated)
    assert ended["exitCode"] == 128 and ended["reason"] == "StartError"
    assert "/no/such/command" in str(ended["message"]) and "no such file or directory" in str(ended["message"])
    assert platform.get("pod", name)["status"]["phase"] == "Failed"
    platform.delete("pod", name)


def test_a_failing_command_backs_off_and_keeps_its_last_state(platform: Platform, isolation_class: str) -> None:
    name = f"crasher-{isolation_class}"
    platform.apply(pod(name, isolation_class, "echo here we go; exit 3"))
    status = platform.wait_waiting(name, "CrashLoopBackOff")
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert status["restartCount"] >= 1
    assert platform.kubectl("logs", "--previous", name).stdout == "here we go\n"
    platform.delete("pod", name)


def test_a_missing_config_map_is_a_configuration_error(platform: Platform, isolation_class: str) -> None:
    name = f"no-config-{isolation_class}"
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "x"}}}]
    platform.apply(pod(name, isolation_class, container={"env": env}))
    status = platform.wait_waiting(name, "CreateContainerConfigError")
    assert 'configmap "absent" not found' in status["state"]["waiting"]["message"]
    platform.delete("pod", name)


def test_an_impossible_request_stays_pending_and_says_why(platform: Platform) -> None:
    resources = {"requests": {"cpu": "1000"}}
    platform.apply(pod("too-big", "container", container={"resources": resources}))
    event = platform.wait_event("too-big", "FailedScheduling")
    assert event["message"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
    conditions = platform.get("pod", "too-big")["status"]["conditions"]
    scheduled = next(condition for condition in conditions if condition["type"] == "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    platform.delete("pod", "too-big")


def test_a_class_that_no_node_offers_stays_pending_and_says_why(platform: Platform) -> None:
    platform.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "elsewhere"},
            "handler": "elsewhere",
            "scheduling": {"nodeSelector": {"kontinuum.dev/class.elsewhere": "true"}},
        },
        pod("homeless", "elsewhere"),
    )
    event = platform.wait_event("homeless", "FailedScheduling")
    assert "node(s) didn't match Pod's node affinity/selector" in event["message"]
    platform.delete("pod", "homeless")
    platform.kubectl("delete", "runtimeclass", "elsewhere")


def test_a_handler_that_containerd_does_not_know_is_an_event(platform: Platform) -> None:
    platform.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "unheard-of"},
            "handler": "unheard-of",
        },
        pod("stranger", "unheard-of"),
    )
    event = platform.wait_event("stranger", "FailedCreatePodSandBox")
    assert "unheard-of" in event["message"]
    platform.delete("pod", "stranger")
    platform.kubectl("delete", "runtimeclass", "unheard-of")


def test_an_image_with_a_digest_that_is_not_its_own_is_never_run(platform: Platform, isolation_class: str) -> None:
    name = f"wrong-digest-{isolation_class}"
    platform.apply(pod(name, isolation_class, container={"image": f"localhost/busybox@sha256:{'0' * 64}"}))
    status = platform.wait_waiting(name, "ImagePullBackOff")
    assert "0" * 64 in status["state"]["waiting"]["message"]
    platform.delete("pod", name)
