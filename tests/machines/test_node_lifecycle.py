"""The life of container pods on a real containerd: states, reasons, restarts, probes and the end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from tests.machines.node import TestedNode, running_node, sh

from kontinuum.api.machinery.objects import Object

pytestmark = pytest.mark.machine


@pytest.fixture
async def node() -> AsyncIterator[TestedNode]:
    async with running_node() as node:
        yield node


def state(pod: Object, index: int = 0) -> Object:
    found: Object = pod["status"]["containerStatuses"][index]["state"]
    return found


def waiting_reason(pod: Object) -> str:
    return str((state(pod).get("waiting") or {}).get("reason"))


async def test_a_pod_runs_and_ends_cleanly(node: TestedNode) -> None:
    pod = await node.run(sh("p", "trap 'exit 0' TERM; sleep 600 & wait"))
    status = pod["status"]
    assert status["podIP"].startswith("10.206.0.")
    assert status["containerStatuses"][0]["ready"] is True
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
        "PodScheduled": "True",
    }  # fmt: skip
    (linked,) = node.settings.container_logs.iterdir()
    assert linked.name.startswith("p_default_")
    assert linked.resolve().is_file()
    await node.delete("p", grace=5)
    assert not list(node.settings.container_logs.iterdir())
    assert not (await node.cri.fingerprints())
    assert not list((node.settings.data / "pods").iterdir())
    assert not list((node.settings.data / "logs" / "pods").iterdir())
    reasons = [reason for reason, _ in await node.events("p")]
    assert {"Pulled", "Created", "Started", "Killing"} <= set(reasons)


async def test_a_crashing_container_is_restarted_at_once_and_then_waits(node: TestedNode) -> None:
    await node.create(sh("p", "echo bad news > /dev/termination-log; exit 5"))
    pod = await node.wait("p", lambda one: waiting_reason(one) == "CrashLoopBackOff")
    status = pod["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 5
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert status["lastState"]["terminated"]["message"] == "bad news\n"
    assert pod["status"]["phase"] == "Running"
    assert status["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=c pod=p_default(")
    assert "BackOff" in [reason for reason, _ in await node.events("p")]


async def test_a_job_like_pod_ends_as_succeeded_or_failed(node: TestedNode) -> None:
    good = await node.run(sh("good", "exit 0", restartPolicy="Never"), "Succeeded")
    assert state(good)["terminated"]["reason"] == "Completed"
    bad = await node.run(sh("bad", "exit 4", restartPolicy="Never"), "Failed")
    assert state(bad)["terminated"]["exitCode"] == 4
    again = await node.run(sh("again", "test $(cat /v/n 2>/dev/null) && exit 0; echo 1 > /v/n; exit 1",
                              restartPolicy="OnFailure", volumes=[{"name": "v", "emptyDir": {}}],
                              container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), "Succeeded")  # fmt: skip
    assert again["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_a_program_that_does_not_exist_is_reported_by_name(node: TestedNode) -> None:
    await node.create(sh("p", "") | {"spec": sh("p", "")["spec"] | {"containers": [
        {"name": "c", "image": "localhost/busybox:1", "command": ["no-such-program"]}]}})  # fmt: skip
    pod = await node.wait("p", lambda one: waiting_reason(one) in ("RunContainerError", "CrashLoopBackOff"))
    pod = await node.wait("p", lambda one: waiting_reason(one) == "CrashLoopBackOff")
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 128
    assert ended["reason"] == "StartError"
    assert '"no-such-program": executable file not found' in ended["message"]


async def test_a_missing_image_is_waited_for(node: TestedNode) -> None:
    await node.create(sh("never", "true", container={"image": "localhost/absent:1", "imagePullPolicy": "Never"}))
    await node.wait("never", lambda one: waiting_reason(one) == "ErrImageNeverPull")
    await node.create(sh("pull", "true", container={"image": "localhost:1/absent:1"}))
    await node.wait("pull", lambda one: waiting_reason(one) == "ErrImagePull")
    pod = await node.wait("pull", lambda one: waiting_reason(one) == "ImagePullBackOff")
    assert 'Back-off pulling image "localhost:1/absent:1"' in state(pod)["waiting"]["message"]
    await node.create(sh("invalid", "true", container={"image": "UPPER/Case:1"}))
    await node.wait("invalid", lambda one: waiting_reason(one) == "InvalidImageName")
    reasons = [reason for reason, _ in await node.events("pull")]
    assert {"Pulling", "Failed", "BackOff"} <= set(reasons)


async def test_init_containers_run_in_order_before_the_others(node: TestedNode) -> None:
    def init(name: str, script: str) -> Object:
        return {"name": name, "image": "localhost/busybox:1", "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}  # fmt: skip

    pod = await node.run(sh("p", "cat /v/order; sleep 600", volumes=[{"name": "v", "emptyDir": {}}],
                            initContainers=[init("one", "sleep 0.3; echo one >> /v/order"),
                                            init("two", "echo two >> /v/order")],
                            container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))  # fmt: skip
    assert await node.logs_with("p", "two") == "one\ntwo\n"
    assert [one["ready"] for one in pod["status"]["initContainerStatuses"]] == [True, True]
    failed = await node.run(sh("f", "true", restartPolicy="Never", volumes=[{"name": "v", "emptyDir": {}}],
                               initContainers=[init("bad", "exit 9")]), "Failed")  # fmt: skip
    assert failed["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 9
    assert waiting_reason(failed) == "PodInitializing"


async def test_a_sidecar_runs_beside_and_ends_with_the_pod(node: TestedNode) -> None:
    sidecar = {"name": "side", "image": "localhost/busybox:1", "command": ["sleep", "600"], "restartPolicy": "Always"}
    pod = await node.run(sh("p", "sleep 1", restartPolicy="Never", initContainers=[sidecar]), "Succeeded")
    assert pod["status"]["initContainerStatuses"][0]["started"] is True
    ended = await node.wait("p", lambda one: "terminated" in one["status"]["initContainerStatuses"][0]["state"])
    assert ended["status"]["phase"] == "Succeeded"


async def test_memory_and_pids_limits_hold(node: TestedNode) -> None:
    limits = {"limits": {"memory": "20Mi", "cpu": "500m"}}
    await node.create(sh("oom", "dd if=/dev/zero of=/dev/null bs=100M count=1; echo $?; sleep 1",
                         restartPolicy="Never", container={"resources": limits,
                         "command": ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]}))  # fmt: skip
    # containerd may hear of the end before it hears why.
    pod = await node.wait("oom", lambda one: (state(one).get("terminated") or {}).get("reason") == "OOMKilled")
    assert state(pod)["terminated"]["exitCode"] == 137
    await node.run(sh("forks", "for i in $(seq 100); do sleep 600 & done; echo all; sleep 600"))
    text = await node.logs_with("forks", "fork")
    assert "fork" in text
    assert "all" not in text


async def test_a_failed_liveness_probe_restarts_and_readiness_gates(node: TestedNode) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1}
    await node.run(sh("live", "touch /tmp/well; sleep 2; rm /tmp/well; sleep 600", container={"livenessProbe": probe}))
    pod = await node.wait("live", lambda one: one["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] in (137, 143)
    events = await node.events("live")
    assert ("Killing", "Container c failed liveness probe, will be restarted") in events
    assert any(reason == "Unhealthy" for reason, _ in events)

    http = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}
    script = "sleep 1; mkdir /tmp/www; echo hi > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www"
    ports = [{"name": "web", "containerPort": 8080}]
    await node.run(sh("ready", script, container={"readinessProbe": http, "ports": ports}))
    assert (await node.get("ready"))["status"]["containerStatuses"][0]["ready"] is False
    pod = await node.wait("ready", lambda one: one["status"]["containerStatuses"][0]["ready"])
    assert {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Ready"] == "True"


async def test_grace_is_kept_shortened_and_hooks_run(node: TestedNode) -> None:
    hooks = {"preStop": {"exec": {"command": ["sh", "-c", "echo bye > /proc/1/fd/1"]}}}
    script = "trap '' TERM; while true; do sleep 0.1; done"
    await node.run(sh("p", script, container={"lifecycle": hooks}, terminationGracePeriodSeconds=30))
    began = time.monotonic()
    await node.delete("p", grace=1)
    assert 0.9 < time.monotonic() - began < 25, "its own grace would have been 30 seconds"

    await node.run(sh("q", "trap '' TERM; while true; do sleep 0.1; done"))
    from kontinuum.api.kubernetes.resources import PODS

    await node.client.delete(PODS, "q", namespace="default", grace_seconds=60)
    began = time.monotonic()
    await node.delete("q", grace=1)
    assert time.monotonic() - began < 50, "the grace that was given first was 60 seconds"
