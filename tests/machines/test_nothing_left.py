"""Create and delete, again and again: no process, network namespace, mount, cgroup, tap or file more than before."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.machines.platform import CLASSES, Never, Platform, pod, wait_until

pytestmark = pytest.mark.machine
CYCLES = 50
AT_ONCE = 5


def processes() -> set[str]:
    """The programs that could belong to a pod, with their pids."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            name = (directory / "comm").read_text().strip() if directory.name.isdigit() else ""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith(("qemu-system", "kt-shim", "containerd-shim", "pause", "runc", "sleep")):
            found.add(f"{name} {directory.name}")
    return found


def entries(*directories: Path) -> set[str]:
    return {str(entry) for directory in directories if directory.exists() for entry in directory.rglob("*")}


def cgroups() -> set[str]:
    return {str(entry) for entry in Path("/sys/fs/cgroup").rglob("*pod*") if entry.is_dir()}


def inventory(platform: Platform) -> dict[str, set[str]]:
    """Everything on this host that a pod may leave behind, by sort."""
    state = platform.status()
    namespace = Path(f"/proc/{state['containerd']['pid']}")
    runtime = Path(state["run_dir"])
    return {
        "processes": processes(),
        "network namespaces": entries(runtime / "containerd" / "io.containerd.grpc.v1.cri" / "netns"),
        "interfaces": {entry.name for entry in Path("/sys/class/net").iterdir()},
        "mounts": {line.split()[4] for line in (namespace / "mountinfo").read_text().splitlines()},
        "cgroups": cgroups(),
        "shared memory": entries(Path("/dev/shm")),
        "machine directories": entries(runtime / "vm"),
        "tasks": entries(runtime / "containerd" / "io.containerd.runtime.v2.task"),
        "pod directories": entries(platform.data_dir / "pods"),
        "addresses": {name for name in entries(platform.data_dir / "cni") if name.rpartition("/")[2][:1].isdigit()},
    }


@pytest.mark.parametrize("isolation_class", CLASSES)
def test_fifty_pods_come_and_go_and_leave_nothing_behind(platform: Platform, isolation_class: str) -> None:
    def cycle(numbers: range) -> None:
        names = [f"mayfly-{isolation_class}-{number}" for number in numbers]
        platform.apply(*(pod(name, isolation_class, terminationGracePeriodSeconds=0) for name in names))
        for name in names:
            platform.wait_running(name)
        platform.kubectl("delete", "pod", *names, "--timeout=60s")

    cycle(range(1))  # the first pod of a class may make what stays on purpose: bridge, template, image
    before = inventory(platform)
    for start in range(1, CYCLES + 1, AT_ONCE):
        cycle(range(start, start + AT_ONCE))

    def left() -> dict[str, set[str]]:
        now = inventory(platform)
        return {sort: found - before[sort] for sort, found in now.items() if found - before[sort]}

    try:
        wait_until("everything to be cleaned up", lambda: not left(), seconds=20, every=0.5)
    except Never:
        assert left() == {}
