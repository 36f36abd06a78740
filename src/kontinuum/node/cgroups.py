"""The pods' cgroups: where they are, what is written there, and how they vanish; for cgroup v1, v2 and both at once.

containerd puts a container's cgroup below the parent that the sandbox names, and leaves the parent standing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kontinuum.api.kubernetes.pod_resources import pod_limits as summed_limits
from kontinuum.api.kubernetes.pod_resources import pod_requests
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node import pods

ROOT = Path("/sys/fs/cgroup")
MINIMUM_SHARES = 2
SHARES_OF_ONE_CPU = 1024
CPU_PERIOD = 100_000
"""Microseconds."""
MINIMUM_QUOTA = 1000
MACHINE_HEADROOM = 100
"""Millicores that a machine's pod may use beyond its limit and overhead.

Its containers are held to their limits by the guest, which takes the moments in which its host does not let it run for
time that the container used: a guest of small limits that its host stops as well stands still (10m of limit and 20m of
overhead: an ``exec`` took 49 s, with headroom 2-8 s, what 10m are worth anywhere under translation).
"""
LIMITED_HIERARCHIES = ("cpu", "memory", "pids")


@dataclass(frozen=True, slots=True)
class PodLimits:
    """What the whole pod may use. 0 means no limit. CPU in millicores, memory in bytes."""

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0
    pids: int = 0


def pod_limits(pod: Object, pids: int) -> PodLimits:
    """What the pod as a whole is held to (``pod_total``)."""
    cpu, memory = pod_total(pod, "limits", "cpu"), pod_total(pod, "limits", "memory")
    return PodLimits(pod_request(pod, "cpu"), cpu, memory, pids)


def with_headroom(limits: PodLimits) -> PodLimits:
    """What the host holds a machine to, whose guest holds its containers to ``limits`` (``MACHINE_HEADROOM``)."""
    return replace(limits, cpu_limit=limits.cpu_limit + MACHINE_HEADROOM) if limits.cpu_limit else limits


def pod_request(pod: Object, kind: str) -> int:
    """What the pod asks for: millicores of ``cpu``, bytes of everything else."""
    return pod_total(pod, "requests", kind)


def pod_total(pod: Object, which: str, kind: str) -> int:
    """Of ``requests`` or ``limits``, with the overhead, in the units of ``pod_request``; no limit is 0.

    A pod has a limit of cpu and memory if it names one as a whole, or if every container does. Limits of other kinds
    add up even where a container has none. Both as by the kubelet.
    """
    spec = pod["spec"]
    if which == "limits" and kind in ("cpu", "memory"):
        holders = [spec] if kind in pods.resources(spec, which) else list(pods.all_containers(pod))
        if any(kind not in pods.resources(one, which) for one in holders):
            return 0
    amounts = pod_requests(spec) if which == "requests" else summed_limits(spec)
    return (quantity.milli if kind == "cpu" else quantity.value)(amounts.get(kind, "0"))


def loosest(one: PodLimits, other: PodLimits) -> PodLimits:
    """Limits under which both may run: what the pod has while its containers change from one to the other."""

    def more(a: int, b: int) -> int:
        return max(a, b) if a and b else 0

    return PodLimits(
        max(one.cpu_request, other.cpu_request),
        more(one.cpu_limit, other.cpu_limit),
        more(one.memory_limit, other.memory_limit),
        more(one.pids, other.pids),
    )


def shares(millicores: int) -> int:
    """cgroup v1's ``cpu.shares`` for a request."""
    return max(MINIMUM_SHARES, millicores * SHARES_OF_ONE_CPU // 1000)


def quota(millicores: int) -> int:
    """Microseconds per period for a limit; -1 for no limit."""
    return max(MINIMUM_QUOTA, millicores * CPU_PERIOD // 1000) if millicores else -1


def weight(cpu_shares: int) -> int:
    """cgroup v2's ``cpu.weight`` (1 to 10000) for v1's shares (2 to 262144), as KEP-2254 maps them."""
    return 1 + ((min(cpu_shares, 262_144) - 2) * 9999) // 262_142


def files_v1(limits: PodLimits) -> Iterator[tuple[str, str, str]]:
    """``(hierarchy, file, content)`` of everything that is written in cgroup v1."""
    yield "cpu", "cpu.shares", str(shares(limits.cpu_request))
    if limits.cpu_limit:
        yield "cpu", "cpu.cfs_period_us", str(CPU_PERIOD)
        yield "cpu", "cpu.cfs_quota_us", str(quota(limits.cpu_limit))
    if limits.memory_limit:
        yield "memory", "memory.limit_in_bytes", str(limits.memory_limit)
    if limits.pids:
        yield "pids", "pids.max", str(limits.pids)


def files_v2(limits: PodLimits) -> Iterator[tuple[str, str]]:
    """``(file, content)`` of everything that is written in cgroup v2."""
    yield "cpu.weight", str(weight(shares(limits.cpu_request)))
    if limits.cpu_limit:
        yield "cpu.max", f"{quota(limits.cpu_limit)} {CPU_PERIOD}"
    if limits.memory_limit:
        yield "memory.max", str(limits.memory_limit)
    if limits.pids:
        yield "pids.max", str(limits.pids)


def is_unified(root: Path = ROOT) -> bool:
    """Whether this host has cgroup v2 alone."""
    return (root / "cgroup.controllers").exists()


def create(parent: str, limits: PodLimits, root: Path = ROOT) -> None:
    """Make the pod's cgroup where a limit is held and write ``limits``; the runtime makes the other hierarchies."""
    if is_unified(root):
        directory = root / parent.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        for level in reversed(directory.relative_to(root).parents):
            _delegate(root / level)
        for file, content in files_v2(limits):
            (directory / file).write_text(content)
        return
    for hierarchy in LIMITED_HIERARCHIES:
        (_hierarchy(root, hierarchy) / parent.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for hierarchy, file, content in files_v1(limits):
        (_hierarchy(root, hierarchy) / parent.lstrip("/") / file).write_text(content)


def remove(parent: str, root: Path = ROOT) -> None:
    """Remove the cgroup ``parent`` with everything below it, in every hierarchy; what is in use stays.

    The deepest go first; a cgroup that holds a process refuses (EBUSY), which is not ours to force.
    """
    for base in _bases(root):
        top = base / parent.lstrip("/")
        if not top.is_dir():
            continue
        for directory in [*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top]:
            _remove_one(directory)


def remove_if_empty(parent: str, root: Path = ROOT) -> None:
    """Remove the cgroup ``parent`` in every hierarchy where nothing is below it."""
    for base in _bases(root):
        if (base / parent.lstrip("/")).is_dir():
            _remove_one(base / parent.lstrip("/"))


def _bases(root: Path) -> list[Path]:
    """The root of every hierarchy."""
    return [root] if is_unified(root) else [base for base in root.iterdir() if base.is_dir() and not base.is_symlink()]


def _remove_one(directory: Path) -> None:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _hierarchy(root: Path, name: str) -> Path:
    """Controllers that are mounted together (``cpu,cpuacct``) have a link for each name."""
    return root / name


def _delegate(directory: Path) -> None:
    """Let the children of ``directory`` use the controllers that it has (cgroup v2)."""
    have = set((directory / "cgroup.controllers").read_text().split())
    wanted = have & {"cpu", "memory", "pids", "io", "cpuset"}
    (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(wanted)))
