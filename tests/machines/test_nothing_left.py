"""Create and delete, again and again: no process, network namespace, mount, cgroup, tap or file more than before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.machines.networks import own_network
from tests.machines.platform import CLASSES, Never, Platform, pod, processes, wait_until, wires

pytestmark = pytest.mark.machine
AT_ONCE = 5


def entries(*directories: Path) -> set[str]:
    """All that is below the directories. What goes while they are read is not among it, as with os.walk."""
    return {
        f"{below}/{name}"
        for directory in directories
        for below, names, files in os.walk(directory)
        for name in (*names, *files)
    }


def cgroups(instance: str) -> set[str]:
    hierarchies = (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())
    return {below for hierarchy in hierarchies for below, _, _ in os.walk(hierarchy / "kontinuum" / instance)}


def inventory(platform: Platform) -> dict[str, set[str]]:
    """Everything on this host that a pod may leave behind, by sort."""
    state = platform.status()
    pids = {part["name"]: part["pid"] for part in state["parts"]}
    namespace = Path(f"/proc/{pids['containerd']}")
    runtime = Path(state["runDir"])
    instance = runtime.name
    return {
        "processes": processes(instance),
        "network namespaces": entries(runtime / "containerd" / "io.containerd.grpc.v1.cri" / "netns"),
        "interfaces": wires(own_network()),
        "mounts": {line.split()[4] for line in (namespace / "mountinfo").read_text().splitlines()},
        "cgroups": cgroups(instance),
        "shared memory": entries(Path(f"/dev/shm/kontinuum-{instance}")),
        "machine directories": entries(runtime / "vm"),
        "tasks": entries(runtime / "containerd" / "io.containerd.runtime.v2.task"),
        "pod directories": entries(platform.data_dir / "pods"),
        "addresses": {name for name in entries(platform.data_dir / "cni") if name.rpartition("/")[2][:1].isdigit()},
    }


def come_and_go(platform: Platform, isolation_class: str, numbers: range) -> None:
    """Pods that start together, run, and are deleted together."""
    names = [f"mayfly-{isolation_class}-{number}" for number in numbers]
    platform.apply(*(pod(name, isolation_class, terminationGracePeriodSeconds=0) for name in names))
    for name in names:
        platform.wait_running(name)
    platform.kubectl("delete", "pod", *names, "--timeout=60s")


@pytest.mark.parametrize("count", [15, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("isolation_class", CLASSES)
def test_pods_come_and_go_and_leave_nothing_behind(platform: Platform, isolation_class: str, count: int) -> None:
    for first in CLASSES:
        come_and_go(platform, first, range(1))  # may make what stays on purpose: template, image
    before = inventory(platform)
    for start in range(0, count, AT_ONCE):
        come_and_go(platform, isolation_class, range(start, start + AT_ONCE))

    def left() -> dict[str, set[str]]:
        now = inventory(platform)
        return {sort: found - before[sort] for sort, found in now.items() if found - before[sort]}

    try:
        wait_until("everything to be cleaned up", lambda: not left(), seconds=60, every=0.5)
    except Never:
        assert left() == {}
