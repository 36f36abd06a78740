"""Our shim under a real kubelet: what the cases of ``pods/`` do not reach (``make test-kubelet KUBELET=...``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
from tests.kubectls import kubectl_programs
from tests.lifetimes import told_of
from tests.machines import kubelet
from tests.machines.kubelet import CLASSES, NODE, Theirs, hierarchies
from tests.machines.platform import Object, pod, wait_until

pytestmark = [
    pytest.mark.machine,
    pytest.mark.long,
    pytest.mark.skipif(not kubelet.PROGRAM, reason="KUBELET names no kubelet"),
]
SECONDS = 180.0


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    with kubelet.running(tmp_path_factory.mktemp("theirs")) as running:
        yield running
    assert not told_of(running.directory, running.run)


def started(theirs: Theirs, name: str, isolation_class: str, command: str = "sleep 100000", **spec: object) -> Object:
    theirs.platform.apply(pod(name, isolation_class, command, **spec))
    return theirs.platform.wait_running(name, seconds=SECONDS)


def container_of(found: Object) -> Object:
    status: Object = found["status"]["containerStatuses"][0]
    return status


def executed(theirs: Theirs, name: str, *command: str) -> str:
    return theirs.platform.kubectl("exec", name, "--", *command).stdout.strip()


def summary(theirs: Theirs) -> dict[str, Object]:
    """What the kubelet says of its pods, by name."""
    said = json.loads(theirs.platform.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary").stdout)
    return {one["podRef"]["name"]: one for one in said["pods"]}


def machines(theirs: Theirs, uid: str) -> list[int]:
    """The processes, machine and shim, in the pod's cgroups."""
    groups = Path(f"/sys/fs/cgroup/memory{theirs.group}").glob(f"**/pod{uid}")
    return [int(pid) for group in groups for one in group.glob("**/cgroup.procs") for pid in one.read_text().split()]


def named(pids: list[int], name: str) -> list[int]:
    return [pid for pid in pids if name in Path(f"/proc/{pid}/comm").read_text()]


def test_each_class_has_its_kernel(theirs: Theirs) -> None:
    for one in CLASSES:
        started(theirs, f"kernel-{one}", one)
    kernels = [executed(theirs, f"kernel-{one}", "uname", "-r") for one in CLASSES]
    assert kernels[0] == os.uname().release != kernels[1]


@pytest.mark.parametrize("kubectl", [min(kubectl_programs()), max(kubectl_programs())])
def test_what_is_typed_arrives_and_ends(theirs: Theirs, kubectl: int) -> None:
    """Over SPDY from an old kubectl, over a WebSocket from a new one."""
    program = [str(kubectl_programs()[kubectl]), "--kubeconfig", str(theirs.platform.kubeconfig)]
    for one in CLASSES:
        name = f"typed-{kubectl}-{one}"
        started(theirs, name, one, "cat; echo the end; sleep 1000", container={"stdin": True, "stdinOnce": True})
        for arguments, expected in (
            (("exec", "-i", name, "--", "cat"), "hello\n"),
            (("exec", "-i", name, "--", "sh", "-c", "cat >&2; exit 3"), ""),
            (("attach", "-i", name, "--pod-running-timeout=60s"), "hello\nthe end\n"),
        ):
            talk = subprocess.Popen([*program, *arguments], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
            if arguments[0] == "attach":
                said = attached(talk, "hello\n", lines=2)
            else:
                said, errors = talk.communicate("hello\n", timeout=60)
                assert "hello" in said + errors
                assert talk.returncode == (3 if "exit 3" in arguments[-1] else 0)
            assert said == expected
        theirs.platform.kubectl("delete", "pod", name, "--wait=false")


def attached(talk: subprocess.Popen[str], text: str, *, lines: int) -> str:
    """What comes back of ``text``; the container would go on."""
    assert talk.stdin and talk.stdout
    with talk:
        talk.stdin.write(text)
        talk.stdin.close()
        said = "".join(talk.stdout.readline() for _ in range(lines))
        talk.kill()
    return said


def test_the_kubelet_measures_both_alike(theirs: Theirs) -> None:
    work = "x=$(head -c 4000000 /dev/zero | tr '\\0' x); while :; do :; done"
    for one in CLASSES:
        started(theirs, f"measured-{one}", one, work, container={"resources": {"limits": {"memory": "64Mi"}}})

    def is_counted(said: Object) -> bool:
        processor, memory = said.get("cpu", {}), said.get("memory", {})
        return processor.get("usageCoreNanoSeconds", 0) > 0 and memory.get("workingSetBytes", 0) > 2_000_000

    def uncounted() -> list[str]:
        found = summary(theirs)
        pods = {f"measured-{one}": found.get(f"measured-{one}", {}) for one in CLASSES}
        counted = {name: [said, *said.get("containers", [{}])] for name, said in pods.items()}
        return [f"{name}: {said}" for name, said in counted.items() if not all(map(is_counted, said))]

    wait_until("the kubelet to measure every pod and container", lambda: not uncounted(), seconds=SECONDS)

    def are_told() -> bool:
        told = theirs.platform.kubectl("top", "pods", check=False).stdout
        return all(f"measured-{one}" in told for one in CLASSES)

    wait_until("kubectl top to tell of both", are_told, seconds=SECONDS)
    for one in CLASSES:
        theirs.platform.delete("pod", f"measured-{one}")


def test_memory_is_limited(theirs: Theirs) -> None:
    eat = "sleep 1; x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 1000"
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    for one in CLASSES:
        theirs.platform.apply(pod(f"eater-{one}", one, eat, container=limits, restartPolicy="Never"))
    for one in CLASSES:
        ended = wait_until(
            f"the end of {one}",
            lambda name=f"eater-{one}": next(
                (
                    status["state"]["terminated"]
                    for status in theirs.platform.get("pod", name)["status"].get("containerStatuses", ())
                    if "terminated" in status["state"]
                ),
                None,
            ),
            seconds=SECONDS,
        )
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_pods_outlive_the_kubelet_and_containerd(theirs: Theirs) -> None:
    before = {one: started(theirs, f"stays-{one}", one, "while :; do date +%s; sleep 1; done") for one in CLASSES}
    theirs.stop("kubelet", signal.SIGKILL)
    theirs.stop("containerd", signal.SIGKILL)
    theirs.containerd()
    theirs.kubelet()
    later = {one: started(theirs, f"after-{one}", one) for one in CLASSES}
    assert all(later.values())
    for one, was in before.items():
        now = theirs.platform.wait_running(f"stays-{one}", seconds=SECONDS)
        assert container_of(now)["containerID"] == container_of(was)["containerID"]
        assert container_of(now)["restartCount"] == 0
        assert executed(theirs, f"stays-{one}", "echo", "still") == "still"
        said = lines(theirs, f"stays-{one}")
        wait_until("more of the log", lambda name=f"stays-{one}", said=said: lines(theirs, name) > said)


def lines(theirs: Theirs, name: str) -> int:
    return len(theirs.platform.kubectl("logs", name).stdout.splitlines())


@pytest.mark.parametrize("victim", ["qemu", "kontinuum-shim"])
def test_what_dies_is_started_again(theirs: Theirs, victim: str) -> None:
    name = f"dies-{victim}"
    was = started(theirs, name, "microvm")
    [pid] = named(machines(theirs, was["metadata"]["uid"]), victim)
    os.kill(pid, signal.SIGKILL)

    def again() -> bool:
        status = theirs.platform.get("pod", name)["status"].get("containerStatuses", [{}])[0]
        return bool(status.get("ready")) and status["containerID"] != container_of(was)["containerID"]

    wait_until(f"{name} to run again", again, seconds=SECONDS)
    assert executed(theirs, name, "echo", "again") == "again"


def test_nothing_is_left_of_pods_that_are_deleted(theirs: Theirs) -> None:
    ours = [one for one in theirs.platform.list("pods") if one["spec"]["runtimeClassName"] == "microvm"]
    assert ours
    theirs.platform.kubectl("delete", "pods", "--all", "--timeout=120s", timeout=180)
    wait_until("no cgroup of our pods", lambda: not groups_of(theirs, ours), seconds=SECONDS)
    wait_until("no container", lambda: not theirs.ctr("containers", "list", "--quiet").stdout.split(), seconds=SECONDS)
    wait_until("no shim", lambda: not named(list(told_of(theirs.run)), "kontinuum-shim"), seconds=SECONDS)
    assert not list((theirs.run / "runtime").glob("sandboxes/*"))
    pods = theirs.directory / "kubelet/pods"
    # The kubelet cleans up after pods every other second, and after those that are gone from the API only then.
    wait_until("no directory of a pod", lambda: not list(pods.iterdir()), seconds=SECONDS)


def groups_of(theirs: Theirs, pods: list[Object]) -> list[Path]:
    """Not of all pods: where a second, empty hierarchy is beside those of cgroup v1, a kubelet leaves runc's in it."""
    groups = [group for one in hierarchies() for group in Path(f"{one}{theirs.group}").glob("**/pod*")]
    return [group for group in groups if any(one["metadata"]["uid"] in group.name for one in pods)]


def test_the_runtime_is_taken_out_again(theirs: Theirs) -> None:
    theirs.kontinuum("runtime", "uninstall", "--directory", theirs.directory / "opt")
    assert (theirs.directory / "containerd/config.toml").read_text() == theirs.containerd_config()
    assert not (theirs.directory / "opt").exists() and not (theirs.run / "runtime").exists()
