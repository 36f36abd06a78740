"""What the machine itself has left, as the kubelet's eviction signals name it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from kontinuum.node import cgroups
from kontinuum.node.eviction.plan import Observation
from kontinuum.node.eviction.thresholds import IMAGEFS, IMAGEFS_INODES, MEMORY, NODEFS, NODEFS_INODES, PIDS
from kontinuum.node.usage import cgroup

PROC = Path("/proc")


def signals(
    nodefs: Path,
    imagefs: Path,
    *,
    proc: Path = PROC,
    cgroup_root: Path = cgroups.ROOT,
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
) -> Mapping[str, Observation]:
    """Every signal that can be read now; one that cannot is left out."""
    readers: dict[str, Callable[[], Observation]] = {
        MEMORY: lambda: memory(proc, cgroup_root),
        PIDS: lambda: pids(proc),
    }
    for place, of_bytes, of_inodes in ((nodefs, NODEFS, NODEFS_INODES), (imagefs, IMAGEFS, IMAGEFS_INODES)):
        readers[of_bytes] = lambda place=place: _space(statvfs(place))  # type: ignore[misc]
        readers[of_inodes] = lambda place=place: _inodes(statvfs(place))  # type: ignore[misc]
    found: dict[str, Observation] = {}
    for signal, read in readers.items():
        try:
            observed = read()
        except (OSError, ValueError, KeyError):
            continue
        # btrfs has no fixed number of inodes and says 0 of 0: then there is nothing to run out of.
        if observed.capacity:
            found[signal] = observed
    return found


def memory(proc: Path = PROC, cgroup_root: Path = cgroups.ROOT) -> Observation:
    """All memory less the root's working set. Raises OSError, ValueError, KeyError.

    The root of cgroup v2 has no such counter: there, what is free and what the page cache could give back at once.
    """
    info = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line)
    total, free, inactive = (int(info[name].split()[0]) << 10 for name in ("MemTotal", "MemFree", "Inactive(file)"))
    used = None if cgroups.is_unified(cgroup_root) else cgroup.working_set("/", cgroup_root)
    return Observation(free + inactive if used is None else max(0, total - used), total)


def pids(proc: Path = PROC) -> Observation:
    """Numbers for processes and threads. Raises OSError, ValueError."""
    kernel = proc / "sys" / "kernel"
    most = min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))
    running = int((proc / "loadavg").read_text().split()[3].split("/")[1])
    return Observation(max(0, most - running), most)


def _space(found: os.statvfs_result) -> Observation:
    return Observation(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def _inodes(found: os.statvfs_result) -> Observation:
    return Observation(found.f_favail, found.f_files)
