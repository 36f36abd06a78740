"""What the kernel tells of a process: whether it is still the one we mean, what memory it takes, where it listens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid together with its start (clock ticks since boot): pids are used again, pairs are not."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId:
    """The process that has ``pid`` now. Raises ProcessLookupError."""
    started = _start_of(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return ProcessId(pid, started)


def is_alive(process: ProcessId) -> bool:
    return _start_of(process.pid) == process.started


def memory_bytes(pid: int) -> int | None:
    """Proportional set size: shared pages count for each of their users in part. None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def listening_ports(pid: int) -> list[int]:
    """TCP ports at which the process listens, in its own network namespace."""
    inodes = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            if found:
                inodes.add(found[1])
    except OSError:
        return []
    return sorted({port for family in ("tcp", "tcp6") for port in _ports(Path(f"/proc/{pid}/net/{family}"), inodes)})


def _ports(table: Path, inodes: set[str]) -> list[int]:
    """Rows of /proc/net/tcp: local address is the second word, state the fourth, inode the tenth."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTEN and row[9] in inodes]


def _start_of(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for the dead, zombies included."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in ("Z", "X") else int(after_name[19])
