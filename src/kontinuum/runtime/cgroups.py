"""The pod's control group on the host: shim and VMM live in it, so that what the pod costs can be seen and limited.

Works with version 1 (one hierarchy per controller), version 2 (one for all) and both beside each other. containerd
gives a path; nobody but us makes it, and nobody but us removes it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

MOUNTS = Path("/proc/self/mounts")
CONTROLLERS = frozenset({"memory", "cpu", "cpuacct", "pids", "blkio"})
"""Those of version 1 that count or limit something of a VMM."""


def hierarchies(mounts: str) -> list[Path]:
    """Mount points of the cgroup hierarchies that matter, from the text of ``/proc/self/mounts``.

    When version 1 controllers are mounted, the unified hierarchy beside them counts nothing and is left alone.
    """
    version1: list[Path] = []
    version2: list[Path] = []
    for line in mounts.splitlines():
        _device, place, kind, options, *_ = line.split(" ")
        path = Path(place.replace("\\040", " "))
        if kind == "cgroup" and not CONTROLLERS.isdisjoint(options.split(",")):
            version1.append(path)
        elif kind == "cgroup2":
            version2.append(path)
    return version1 or version2[:1]


def join(path: str, *others: int) -> list[Path]:
    """Make ``path`` in every hierarchy and move this process into it, and ``others``; children follow by themselves.

    Memory that they have already is counted where it was before, but for version 1, which moves the account too.
    Returns the directories to ``remove`` later. A hierarchy that refuses is left out: a pod without accounting is
    better than no pod.
    """
    joined: list[Path] = []
    for root in hierarchies(MOUNTS.read_text()) if path else ():
        directory = root / path.lstrip("/")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if others:
                _take_accounts_along(directory)
            for process in (0, *others):
                (directory / "cgroup.procs").write_text(str(process))
        except OSError as error:
            log.warning("a cgroup could not be joined", cgroup=str(directory), reason=str(error))
            with suppress(OSError):
                directory.rmdir()
            continue
        joined.append(directory)
    return joined


def _take_accounts_along(directory: Path) -> None:
    """Of anonymous and of mapped memory. A kernel that has forgotten how says no, which costs the account alone."""
    switch = directory / "memory.move_charge_at_immigrate"
    with suppress(OSError):
        if switch.exists():
            switch.write_text("3")


def leave(directories: Collection[Path]) -> None:
    """Move this process to the root of each hierarchy, so that ``remove`` finds the group empty.

    Not to the parent group: version 2 allows no processes in a group that has children.
    """
    for root in hierarchies(MOUNTS.read_text()):
        if any(directory.is_relative_to(root) for directory in directories):
            with suppress(OSError):
                (root / "cgroup.procs").write_text("0")


def memory_kills(directories: Iterable[Path]) -> int:
    """How many processes in these groups the kernel has killed so far because there was no memory left for them."""
    kills = 0
    for file in (directory / name for directory in directories for name in ("memory.oom_control", "memory.events")):
        with suppress(OSError):
            counts = dict(line.split(" ", 1) for line in file.read_text().splitlines())
            kills += int(counts.get("oom_kill", 0))
    return kills


def remove(directories: Iterable[Path], *, timeout: float = 2.0) -> list[Path]:
    """Kill what is still inside and remove the directories. Idempotent; returns what could not be removed."""
    deadline = time.monotonic() + timeout
    left = [directory for directory in directories if directory.is_dir()]
    while left:
        for directory in left:
            _kill_members(directory)
        left = [directory for directory in left if not _try_remove(directory)]
        if time.monotonic() > deadline:
            break
        if left:
            time.sleep(0.01)  # the kernel buries a killed process in its own time
    return left


def _kill_members(directory: Path) -> None:
    with suppress(OSError):
        for word in (directory / "cgroup.procs").read_text().split():
            if int(word) != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(int(word), signal.SIGKILL)


def _try_remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
