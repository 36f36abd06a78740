"""The same manifest, the same kubectl: container and microVM differ in their kernel, not in what a user does."""

from __future__ import annotations

import json
import os
import platform as host
import pty
import select
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import kubernetes
import pytest
import yaml
from tests.kubectls import newest_kubectl
from tests.machines.platform import CLASSES, Object, Platform, pod, wait_until

pytestmark = pytest.mark.machine
EXAMPLE = Path(__file__).parents[2] / "examples/one-api/one-api.yaml"


@pytest.fixture(params=CLASSES)
def isolation_class(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


CONFIGURATION: list[Object] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "configured"}, "data": {"colour": "green"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "configured"}, "stringData": {"word": "sesame"}},
]


def shell_pod(name: str, isolation_class: str) -> Object:
    """One with a configured container ``main``, one that it shares a volume and a network with, and somebody's own."""
    configured: Object = {
        "env": [
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "configured", "key": "colour"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "volumeMounts": [
            {"name": "config", "mountPath": "/config"},
            {"name": "secret", "mountPath": "/secret", "readOnly": True},
            {"name": "shared", "mountPath": "/shared"},
        ],
    }
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": "configured"}},
        {"name": "secret", "secret": {"secretName": "configured", "defaultMode": 0o400}},
        {"name": "shared", "emptyDir": {}},
    ]
    made = pod(name, isolation_class, container=configured, volumes=volumes)
    made["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "main"}
    [main] = made["spec"]["containers"]
    bare = {"image": main["image"], "command": main["command"]}
    write = "echo from-writer > /shared/word; httpd -f -p 127.0.0.1:8080 -h /shared"
    mount = [{"name": "shared", "mountPath": "/shared"}]
    rights = {"runAsUser": 1000, "runAsGroup": 3000, "capabilities": {"drop": ["ALL"]}}
    made["spec"]["containers"] += [
        {**bare, "name": "writer", "command": ["/bin/sh", "-c", write], "volumeMounts": mount},
        {**bare, "name": "somebody", "securityContext": rights, "workingDir": "/var/tmp"},
    ]
    return made


@pytest.fixture(scope="module")
def shells(platform: Platform) -> Iterator[dict[str, str]]:
    """A running pod with shells of each class, by its name: nobody changes it."""
    names = {isolation_class: f"shell-{isolation_class}" for isolation_class in CLASSES}
    platform.apply(*CONFIGURATION, *(shell_pod(name, isolation_class) for isolation_class, name in names.items()))
    for name in names.values():
        platform.wait_running(name)
    yield names
    platform.kubectl("delete", "pod", *names.values(), "--timeout=60s")


@pytest.fixture
def shell(shells: dict[str, str], isolation_class: str) -> str:
    return shells[isolation_class]


def test_the_example_s_deployments_differ_in_one_field_only() -> None:
    deployments = [doc for doc in yaml.safe_load_all(EXAMPLE.read_text()) if doc["kind"] == "Deployment"]
    same = []
    for one, isolation_class in zip(deployments, CLASSES, strict=True):
        assert one["spec"]["template"]["spec"].pop("runtimeClassName") == isolation_class
        same.append(json.dumps(one).replace(f"web-{isolation_class}", "web"))
    assert len(set(same)) == 1


def test_the_example_runs_and_every_pod_serves_its_page(platform: Platform) -> None:
    platform.kubectl("apply", "-f", str(EXAMPLE))
    for isolation_class in CLASSES:
        platform.kubectl("rollout", "status", f"deployment/web-{isolation_class}", "--timeout=90s", timeout=100)
        for found in platform.list("pods", labels=f"app=web-{isolation_class}"):
            with urllib.request.urlopen(f"http://{found['status']['podIP']}/", timeout=10) as page:
                assert b"One API, every isolation class" in page.read()


def test_deployments_of_every_class_scale_restart_and_go_the_same_way(platform: Platform) -> None:
    """All of them side by side, as a user would."""
    deployments = {f"deployment/web-{one}": f"app=web-{one}" for one in CLASSES}

    def wait_rolled_out() -> None:
        for one in deployments:
            platform.kubectl("rollout", "status", one, "--timeout=240s", timeout=250)

    def names(labels: str) -> set[str]:
        return {found["metadata"]["name"] for found in platform.list("pods", labels=labels)}

    platform.kubectl("apply", "-f", str(EXAMPLE))
    wait_rolled_out()
    platform.kubectl("scale", *deployments, "--replicas=3")
    wait_rolled_out()
    before = {labels: names(labels) for labels in deployments.values()}
    assert [len(found) for found in before.values()] == [3] * len(CLASSES)
    platform.kubectl("rollout", "restart", *deployments)
    wait_rolled_out()
    wait_until(
        "only pods of the new template",
        lambda: all(old.isdisjoint(names(labels)) for labels, old in before.items()),
    )
    platform.kubectl("delete", *deployments)
    for labels in deployments.values():
        platform.wait_gone("pods", labels=labels)


def test_a_container_runs_the_host_s_kernel_and_the_others_one_of_their_own(
    platform: Platform, shell: str, isolation_class: str
) -> None:
    inside = platform.kubectl("exec", shell, "--", "uname", "-r").stdout.strip()
    assert (inside == host.release()) is (isolation_class == "container")


def test_exec_hands_the_exit_code_to_the_caller(platform: Platform, shell: str) -> None:
    done = platform.kubectl("exec", shell, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert done.returncode == 7
    assert done.stdout == "out\n"
    assert done.stderr.startswith("err\n")


def test_exec_feeds_standard_input_and_ends_with_it(platform: Platform, shell: str) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    done = platform.kubectl("exec", "-i", shell, "--", "cat", stdin=text)
    assert done.stdout == text


def test_exec_of_a_missing_command_says_so(platform: Platform, shell: str) -> None:
    done = platform.kubectl("exec", shell, "--", "no-such-command", check=False)
    assert done.returncode != 0
    assert "no-such-command" in done.stderr
    assert "not found" in done.stderr or "no such file or directory" in done.stderr


def test_exec_gives_a_terminal_of_the_caller_s_size(platform: Platform, shell: str) -> None:
    master, slave = pty.openpty()
    os.environ.setdefault("TERM", "xterm")
    subprocess.run(["stty", "rows", "33", "cols", "101"], stdin=slave, check=True)
    command = [str(newest_kubectl()), "--kubeconfig", str(platform.kubeconfig), "exec", "-it", shell, "--", "sh"]
    client = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        _type_until(master, "tty; stty size\n", b"33 101")
        _type_until(master, "exit 5\n", b"exit 5")
        assert client.wait(timeout=20) == 5
    finally:
        client.kill()
        client.wait()
        os.close(master)


def _type_until(terminal: int, keys: str, expected: bytes) -> None:
    """Type ``keys`` (again every few seconds: the remote shell may not be up yet) until ``expected`` shows."""
    seen, deadline, typed = b"", time.monotonic() + 30, 0.0
    while expected not in seen:
        assert time.monotonic() < deadline, seen
        if time.monotonic() - typed > 5:
            os.write(terminal, keys.encode())
            typed = time.monotonic()
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096)


def test_logs_follow_what_the_container_writes_until_it_ends(platform: Platform, isolation_class: str) -> None:
    name = f"talker-{isolation_class}"
    talk = "for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done"
    platform.apply(pod(name, isolation_class, talk, restartPolicy="Never"))
    wait_until(f"{name} to start", lambda: platform.get("pod", name)["status"]["phase"] != "Pending")
    followed = platform.kubectl("logs", "-f", name, timeout=60)
    assert followed.stdout.splitlines() == [f"line {number}" for number in range(1, 6)]
    assert platform.kubectl("logs", "--tail=2", name).stdout.splitlines() == ["line 4", "line 5"]
    wait_until(f"{name} to succeed", lambda: platform.get("pod", name)["status"]["phase"] == "Succeeded")
    platform.delete("pod", name)


def test_deleting_a_pod_runs_its_term_handler_first(platform: Platform, isolation_class: str) -> None:
    name = f"polite-{isolation_class}"
    command = "trap 'echo farewell; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    platform.apply(pod(name, isolation_class, command, terminationGracePeriodSeconds=120))
    platform.wait_running(name)
    wait_until("the trap to be set", lambda: "ready" in platform.kubectl("logs", name).stdout)
    log = subprocess.Popen(
        [str(newest_kubectl()), "--kubeconfig", str(platform.kubeconfig), "logs", "-f", name],
        stdout=subprocess.PIPE,
        text=True,
    )
    began = time.monotonic()
    platform.kubectl("delete", "pod", name)
    output, _ = log.communicate(timeout=60)
    assert "farewell" in output
    assert time.monotonic() - began < 100, (
        "the pod was killed at the end of its grace period instead of ending by itself"
    )


def test_exceeding_the_memory_limit_is_reported_as_oom_killed(platform: Platform, isolation_class: str) -> None:
    name = f"greedy-{isolation_class}"
    limits = {"resources": {"limits": {"memory": "48Mi"}}}
    platform.apply(pod(name, isolation_class, "tail /dev/zero", container=limits, restartPolicy="Never"))
    ended = wait_until(
        f"{name} to end",
        lambda: (
            (platform.get("pod", name)["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("terminated")
        ),
    )
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    platform.delete("pod", name)


def test_containers_of_a_pod_share_network_and_empty_dir(platform: Platform, shell: str) -> None:
    def said(*command: str) -> str:
        return platform.kubectl("exec", shell, "--", *command, check=False).stdout

    read = wait_until("the writer's word", lambda: said("cat", "/shared/word"))
    fetched = wait_until("the writer's page", lambda: said("wget", "-qO-", "http://127.0.0.1:8080/word"))
    assert read == fetched == "from-writer\n"


def test_configuration_reaches_the_pod(platform: Platform, shell: str) -> None:
    script = 'echo "$COLOUR $POD $(cat /config/colour) $(cat /secret/word) $(stat -Lc %a /secret/word)"'
    assert platform.kubectl("exec", shell, "--", "sh", "-c", script).stdout == f"green {shell} green sesame 400\n"


def test_an_identity_is_what_the_security_context_says(platform: Platform, shell: str) -> None:
    script = "id -u; id -g; pwd; grep CapEff /proc/self/status | tr -d '[:space:]'"
    answer = platform.kubectl("exec", shell, "-c", "somebody", "--", "sh", "-c", script).stdout.split()
    assert answer == ["1000", "3000", "/var/tmp", "CapEff:0000000000000000"]


def test_a_pod_s_token_is_its_account_s_and_the_api_knows_from_where(
    platform: Platform, shell: str, isolation_class: str
) -> None:
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = f"cd {place} && cat namespace && echo && cat token && echo && cat ca.crt"
    namespace, token, authorities = platform.kubectl("exec", shell, "--", "sh", "-c", script).stdout.split("\n", 2)
    assert namespace == "default"
    found = platform.get("pod", shell)
    server = json.loads(platform.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    request = urllib.request.Request(
        f"{server}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        data=json.dumps(review).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, context=ssl.create_default_context(cadata=authorities), timeout=10) as answer:
        user = json.load(answer)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [found["metadata"]["uid"]]
    assert user["extra"]["authentication.kubernetes.io/node-name"] == [found["spec"]["nodeName"]]


@pytest.mark.behaviour(
    "Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update"
)
@pytest.mark.behaviour(
    "Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and "
    "observedGeneration eventually converge"
)
def test_a_pod_s_generation_counts_its_changes_and_its_node_follows(platform: Platform) -> None:
    name = "much-changed"
    platform.apply(pod(name, "container"))
    platform.wait_running(name)
    with kubernetes.config.new_client_from_config(str(platform.kubeconfig)) as client:
        core = kubernetes.client.CoreV1Api(client)
        first = platform.get("pod", name)["metadata"]["generation"]
        assert first == 1
        core.patch_namespaced_pod(name, "default", {"metadata": {"labels": {"not": "spec"}}})
        assert platform.get("pod", name)["metadata"]["generation"] == 1
        for number in range(499):
            core.patch_namespaced_pod(name, "default", {"spec": {"activeDeadlineSeconds": 100_000 - number}})
    assert platform.get("pod", name)["metadata"]["generation"] == 500
    wait_until("the node to follow", lambda: platform.get("pod", name)["status"]["observedGeneration"] == 500)
    platform.delete("pod", name)


@pytest.mark.behaviour("RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead")
def test_a_class_s_overhead_is_the_pod_s_when_it_is_scheduled(platform: Platform) -> None:
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "container"}
    platform.apply({**kind, "metadata": {"name": "dear"}, "overhead": overhead})
    platform.apply(pod("dear", "dear"))
    wait_until("a node", lambda: platform.get("pod", "dear")["spec"].get("nodeName"))
    assert platform.get("pod", "dear")["spec"]["overhead"] == overhead["podFixed"]
    platform.delete("pod", "dear")
    platform.kubectl("delete", "runtimeclass", "dear")
