"""Any part may be killed at any time: what must live lives; what died is reported truthfully and comes back."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.machines.inventory import inventory, wait_nothing_more
from tests.machines.platform import CLASSES, Object, Platform, pod, wait_until

from kontinuum.cli.state import PartState

pytestmark = pytest.mark.machine
PATIENCE = 240.0
"""Seconds for six machines that start, and start again, at the same time."""
PARTS = ("server", "controllers", "node", "network", "containerd", "shim-parent")


def container_of(platform: Platform, name: str) -> Object:
    found: Object = platform.get("pod", name)["status"]["containerStatuses"][0]
    return found


def strike_down(platform: Platform, part: str) -> PartState:
    """Kill the part; answers what it was."""
    before = platform.part(part)
    assert before.pid is not None, before
    os.kill(before.pid, signal.SIGKILL)
    return before


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


@pytest.fixture(scope="module")
def pods(platform: Platform) -> Iterator[dict[str, Object]]:
    """One long-lived pod of each class that writes a line every 100 ms, as it was when it had just come up.

    The same for all tests: they outlive the end of every part, one after the other.
    """
    names = {isolation_class: f"survivor-{isolation_class}" for isolation_class in CLASSES}
    counting = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    platform.apply(*(pod(name, isolation_class, counting) for isolation_class, name in names.items()))
    yield {isolation_class: platform.wait_running(name) for isolation_class, name in names.items()}
    platform.kubectl("delete", "pod", *names.values(), "--timeout=60s")


@pytest.mark.parametrize("part", PARTS)
def test_pods_outlive_any_part_of_the_platform(platform: Platform, pods: dict[str, Object], part: str) -> None:
    before = strike_down(platform, part)

    def is_back() -> PartState | None:
        now = platform.part(part)
        return now if now.pid != before.pid and now.state == "ready" else None

    after = wait_until(f"{part} to be back", is_back, seconds=PATIENCE)
    assert after.restarts == before.restarts + 1
    wait_until("a write", lambda: platform.kubectl("create", "configmap", f"after-{part}", check=False).returncode == 0)
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
        strike_down(platform, part)
    wait_until("the API to answer", lambda: platform.kubectl("get", "nodes", check=False).returncode == 0)
    names = [f"newcomer-{isolation_class}" for isolation_class in CLASSES]
    platform.apply(*map(pod, names, CLASSES))
    for name in names:
        platform.wait_running(name, seconds=PATIENCE)
    for name in names:
        platform.delete("pod", name)


def kill(program: str) -> Callable[[Platform, str, str], None]:
    def strike(platform: Platform, name: str, uid: str) -> None:
        [victim] = wait_until(f"the {program} of {name}", lambda: processes_of(uid, program))
        os.kill(victim, signal.SIGKILL)

    return strike


def panic(platform: Platform, name: str, uid: str) -> None:
    """The agent is the guest's first process, which no container sees: it ends with the guest's kernel, and only so."""
    platform.kubectl("exec", name, "--", "sh", "-c", "echo c > /proc/sysrq-trigger", check=False)


def starve(platform: Platform, name: str, uid: str) -> None:
    """The host has no more memory for the machine than it has now, and the guest wants more."""
    [machine] = processes_of(uid, "qemu-system")
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{machine}/cgroup").read_text().splitlines())
    is_v1 = "memory" in groups
    group = Path("/sys/fs/cgroup/memory" if is_v1 else "/sys/fs/cgroup") / groups["memory" if is_v1 else ""].lstrip("/")
    usage, limit = ("memory.usage_in_bytes", "memory.limit_in_bytes") if is_v1 else ("memory.current", "memory.max")
    now = int((group / usage).read_text())
    (group / limit).write_text(str(now + SPARE_BYTES))
    platform.kubectl("exec", name, "--", "sh", "-c", "head -c 60m /dev/zero > /dev/shm/more", check=False)


def exhaust(platform: Platform, name: str, uid: str) -> None:
    """The guest has no more memory, and no limit keeps the container from taking what there is."""
    platform.kubectl("exec", name, "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=90M", "count=1", check=False)


SPARE_BYTES = 4 << 20
PRIVILEGED = {"container": {"securityContext": {"privileged": True}}}
DEATHS: dict[str, tuple[Callable[[Platform, str, str], None], str, Object]] = {
    "machine": (kill("qemu-system"), "Error", {}),
    "shim": (kill("kontinuum-shim"), "Error", {}),
    "kernel": (panic, "Error", PRIVILEGED),
    "memory": (starve, "OOMKilled", {}),
    "memory inside": (exhaust, "OOMKilled", {}),
    "mortal": (kill("qemu-system"), "Error", {"restartPolicy": "Never"}),
}
"""By what dies: how, what its container's end is called, and what is special about the pod."""


def test_a_microvm_that_dies_whatever_of_is_told_truthfully_comes_back_by_its_policy_and_leaves_nothing(
    platform: Platform,
) -> None:
    platform.apply(pod("first", "microvm"))  # makes what stays on purpose, such as the parents of cgroups
    platform.wait_running("first", seconds=PATIENCE)
    platform.delete("pod", "first")
    # Other templates may be made meanwhile, and parts of the platform be starting again.
    before = {sort: found for sort, found in inventory(platform).items() if sort not in ("shared memory", "processes")}
    names = {what: f"victim-{what.replace(' ', '-')}" for what in DEATHS}
    platform.apply(*(pod(names[what], "microvm", **copy.deepcopy(spec)) for what, (_, _, spec) in DEATHS.items()))
    uids = {what: platform.wait_running(name, seconds=PATIENCE)["metadata"]["uid"] for what, name in names.items()}
    for what, (strike, _, _) in DEATHS.items():
        strike(platform, names[what], uids[what])
    for what, (_, reason, spec) in DEATHS.items():

        def is_back(name: str = names[what]) -> Object | None:
            status = container_of(platform, name)
            return status if status["restartCount"] >= 1 and status["ready"] else None

        def has_failed(name: str = names[what]) -> Object | None:
            return container_of(platform, name) if platform.get("pod", name)["status"]["phase"] == "Failed" else None

        stays_dead = spec.get("restartPolicy") == "Never"
        status = wait_until(f"the end of {what} to be told", has_failed if stays_dead else is_back, seconds=PATIENCE)
        end = status["state" if stays_dead else "lastState"]["terminated"]
        assert (end["exitCode"] != 0, end["reason"]) == (True, reason), what
        if stays_dead:
            assert status["restartCount"] == 0
        else:
            assert platform.kubectl("exec", names[what], "--", "echo", "again").stdout == "again\n"
    platform.kubectl("delete", "pod", *names.values(), "--timeout=60s")
    for what, uid in uids.items():
        wait_until(f"nothing of {what} to run on", lambda uid=uid: not processes_of(uid, ""))
    wait_nothing_more(platform, before)
