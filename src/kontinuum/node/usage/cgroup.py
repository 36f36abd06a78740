"""What the kernel counted of one cgroup, in cgroup v1 and v2. A file that is not there counts nothing."""

from __future__ import annotations

from pathlib import Path

from kontinuum.node.cgroups import ROOT, is_unified


def working_set(cgroup: str, root: Path = ROOT) -> int | None:
    """Bytes of memory that cannot be dropped at once: usage without file pages that were not touched for a while.

    None if the kernel does not count memory for this cgroup.
    """
    if is_unified(root):
        directory, usage, inactive = root / cgroup.lstrip("/"), "memory.current", "inactive_file"
    else:
        directory, usage, inactive = (
            root / "memory" / cgroup.lstrip("/"),
            "memory.usage_in_bytes",
            "total_inactive_file",
        )
    used = _number(directory / usage)
    return None if used is None else max(0, used - _field(directory / "memory.stat", inactive))


def processes(cgroup: str, root: Path = ROOT) -> int:
    """Processes and threads in the cgroup and below."""
    base = root if is_unified(root) else root / "pids"
    return _number(base / cgroup.lstrip("/") / "pids.current") or 0


def cpu_nanoseconds(cgroup: str, root: Path = ROOT) -> int | None:
    """Processor time since the cgroup was made; None if it is not counted."""
    if not is_unified(root):
        return _number(root / "cpuacct" / cgroup.lstrip("/") / "cpuacct.usage")
    stat = root / cgroup.lstrip("/") / "cpu.stat"
    return _field(stat, "usage_usec") * 1000 if stat.exists() else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _field(path: Path, name: str) -> int:
    try:
        text = path.read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.split()[0] == name), 0)
