"""Any part may be killed at any time: what must live lives; what died is reported truthfully and comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.platform import CLASSES, Object, Platform, pod, wait_until

pytestmark = pytest.mark.machine
PARTS = ("server", "controllers", "node", "network", "containerd", "shim-parent")


def container_of(platform: Platform, name: str) -> Object:
    found: Object = platform.get("pod", name)["status"]["containerStatuses"][0]
    return found


def part_of(platform: Platform, name: str) -> Object:
    return next(part for part in platform.status()["parts"] if part["name"] == name)


def processes_of(pod_uid: str, program: str) -> list[int]:
    """The processes on this host that run ``program`` in the pod's cgroup."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            cgroups = (directory / "cgroup").read_text().replace("_", "-")
            name = (directory / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if pod_uid in cgroups and name.startswith(program):
            found.append(int(directory.name))
    return found


@pytest.fixture
def pods(platform: Platform) -> Iterator[dict[str, Object]]:
    """One long-lived pod of each class that writes a line every 100 ms, as it was when it had just come up."""
    names = {isolation_class: f"survivor-{isolation_class}" for isolation_class in CLASSES}
    counting = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    platform.apply(*(pod(name, isolation_class, counting) for isolation_class, name in names.items()))
    yield {isolation_class: platform.wait_running(name) for isolation_class, name in names.items()}
    for name in names.values():
        platform.delete("pod", name)


@pytest.mark.parametrize("part", PARTS)
def test_pods_outlive_any_part_of_the_platform(platform: Platform, pods: dict[str, Object], part: str) -> None:
    before = part_of(platform, part)
    os.kill(before["pid"], signal.SIGKILL)

    def is_back() -> Object | None:
        now = part_of(platform, part)
        return now if now["pid"] not in (None, before["pid"]) else None

    after = wait_until(f"{part} to be back", is_back, seconds=30)
    assert after["restarts"] == before["restarts"] + 1
    wait_until("the API to answer", lambda: platform.kubectl("get", "nodes", check=False).returncode == 0)
    for isolation_class, was in pods.items():
        name = was["metadata"]["name"]
        now = platform.get("pod", name)
        assert now["metadata"]["uid"] == was["metadata"]["uid"], isolation_class
        assert container_of(platform, name)["restartCount"] == 0, isolation_class
        assert now["status"]["podIP"] == was["status"]["podIP"], isolation_class
        answer = wait_until(
            f"exec in {name}",
            lambda name=name: platform.kubectl("exec", name, "--", "echo", "alive", check=False).stdout,
        )
        assert answer == "alive\n"
        counted = [int(line) for line in platform.kubectl("logs", name).stdout.split()]
        assert counted == list(range(1, len(counted) + 1)), f"{isolation_class}: lines of the log are missing"


def test_new_pods_of_every_class_start_after_every_part_was_killed(platform: Platform) -> None:
    for part in PARTS:
        os.kill(part_of(platform, part)["pid"], signal.SIGKILL)
    wait_until("the API to answer", lambda: platform.kubectl("get", "nodes", check=False).returncode == 0)
    for isolation_class in CLASSES:
        name = f"newcomer-{isolation_class}"
        platform.apply(pod(name, isolation_class))
        platform.wait_running(name)
        platform.delete("pod", name)


@pytest.mark.parametrize("program", ["qemu-system", "kontinuum-shim"])
def test_a_microvm_that_loses_its_machine_or_its_shim_is_restarted_by_its_policy(
    platform: Platform, program: str
) -> None:
    name = "victim-" + program.partition("-")[0]
    platform.apply(pod(name, "microvm"))
    uid = platform.wait_running(name)["metadata"]["uid"]
    [victim] = wait_until(f"the {program} of {name}", lambda: processes_of(uid, program))
    os.kill(victim, signal.SIGKILL)
    restarted = wait_until(
        "a restart",
        lambda: (status := container_of(platform, name))["restartCount"] >= 1 and status["ready"] and status,
    )
    assert restarted["lastState"]["terminated"]["exitCode"] != 0
    assert platform.kubectl("exec", name, "--", "echo", "again").stdout == "again\n"
    platform.delete("pod", name)
    wait_until(f"no {program} of {name}", lambda: not processes_of(uid, program))


def test_a_microvm_that_must_not_restart_is_reported_as_failed(platform: Platform) -> None:
    platform.apply(pod("mortal", "microvm", restartPolicy="Never"))
    uid = platform.wait_running("mortal")["metadata"]["uid"]
    [victim] = processes_of(uid, "qemu-system")
    os.kill(victim, signal.SIGKILL)
    wait_until("the pod to fail", lambda: platform.get("pod", "mortal")["status"]["phase"] == "Failed")
    time.sleep(1)
    assert container_of(platform, "mortal")["restartCount"] == 0
    platform.delete("pod", "mortal")
