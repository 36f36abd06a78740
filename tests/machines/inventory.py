"""Everything on this host that pods may leave behind, by sort."""

from __future__ import annotations

import os
from pathlib import Path

from tests.machines.networks import own_network
from tests.machines.platform import Never, Platform, processes, wait_until, wires

from kontinuum.cli.installation import Installation

Inventory = dict[str, set[str]]


def inventory(platform: Platform) -> Inventory:
    """What there is now."""
    namespace = Path(f"/proc/{platform.part('containerd').pid}")
    runtime = Installation.at(platform.data_dir).run
    instance = runtime.name
    return {
        "processes": processes(instance),
        "network namespaces": _entries(runtime / "containerd" / "io.containerd.grpc.v1.cri" / "netns"),
        "interfaces": wires(own_network()),
        "mounts": {line.split()[4] for line in (namespace / "mountinfo").read_text().splitlines()},
        "cgroups": _cgroups(instance),
        "shared memory": _entries(Path(f"/dev/shm/kontinuum-{instance}")),
        "machine directories": _entries(runtime / "vm"),
        "tasks": _entries(runtime / "containerd" / "io.containerd.runtime.v2.task"),
        "pod directories": _entries(platform.data_dir / "pods"),
        "addresses": {name for name in _entries(platform.data_dir / "cni") if name.rpartition("/")[2][:1].isdigit()},
    }


def wait_nothing_more(platform: Platform, before: Inventory, *, seconds: float = 60.0) -> None:
    """Return when there is nothing on the host that is not in ``before``; fails with what is left."""

    def left() -> Inventory:
        now = inventory(platform)
        return {sort: more for sort, was in before.items() if (more := now[sort] - was)}

    try:
        wait_until("everything to be cleaned up", lambda: not left(), seconds=seconds, every=0.5)
    except Never as error:
        if found := left():
            raise Never(f"{error}; left are {found}") from None


def _entries(*directories: Path) -> set[str]:
    """All that is below the directories. What goes while they are read is not among it, as with os.walk."""
    return {
        f"{below}/{name}"
        for directory in directories
        for below, names, files in os.walk(directory)
        for name in (*names, *files)
    }


def _cgroups(instance: str) -> set[str]:
    hierarchies = (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())
    return {below for hierarchy in hierarchies for below, _, _ in os.walk(hierarchy / "kontinuum" / instance)}
