"""What a sandbox leaves in writing, so that it can be taken apart by somebody else after its shim was killed.

A process is remembered with its start time: process numbers are used again, start times of one boot are not.
"""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from kontinuum.runtime import cgroups

log = structlog.get_logger(__name__)

_FILE = "record.json"


class ProcessRecord(msgspec.Struct, frozen=True):
    """A process that may have ended meanwhile."""

    pid: int
    started: int
    """Clock ticks after boot (field 22 of ``/proc/<pid>/stat``)."""


class SandboxRecord(msgspec.Struct, frozen=True):
    """One sandbox's processes and places."""

    sandbox: str
    processes: tuple[ProcessRecord, ...] = ()
    """The shim itself, then its machine."""
    cgroups: tuple[str, ...] = ()


def directory_of(sandboxes: Path, namespace: str, sandbox: str) -> Path:
    """The sandbox's own directory; short, because UNIX sockets are to fit inside."""
    key = hashlib.sha256(f"{namespace}/{sandbox}".encode()).hexdigest()[:16]
    return sandboxes / key


def process_record(pid: int) -> ProcessRecord | None:
    """A record of a living process, or None if there is none."""
    started = _start_time(pid)
    return None if started is None else ProcessRecord(pid, started)


def write(directory: Path, record: SandboxRecord) -> None:
    """Replace the record in one step. On a tmpfs nothing survives a power cut, so nothing is synced."""
    temporary = directory / f".{_FILE}"
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.replace(directory / _FILE)


def read(directory: Path) -> SandboxRecord | None:
    """The record, or None if there is none (never begun, or taken apart already)."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=SandboxRecord)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError as error:
        log.error(
            "a sandbox's record is unreadable; its directory is removed", directory=str(directory), why=str(error)
        )
        return None


def has_shim(record: SandboxRecord) -> bool:
    """Whether the sandbox's shim lives."""
    return bool(record.processes) and _start_time(record.processes[0].pid) == record.processes[0].started


def wait_gone(directory: Path, *, timeout: float) -> bool:
    """Wait while the sandbox's shim cleans up by itself; False at once if it is dead, or if it takes too long."""
    deadline = time.monotonic() + timeout
    while (record := read(directory)) is not None:
        if not has_shim(record) or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def take_apart(directory: Path, *, timeout: float = 5.0) -> None:
    """End everything that the record names and remove everything that the sandbox had. Idempotent; blocks."""
    record = read(directory)
    if record is not None:
        for process in record.processes:
            _end(process, timeout=timeout)
        stubborn = cgroups.remove(map(Path, record.cgroups))
        if stubborn:
            log.error("cgroups could not be removed", cgroups=[str(path) for path in stubborn])
    shutil.rmtree(directory, ignore_errors=True)


def _end(process: ProcessRecord, *, timeout: float) -> None:
    """Kill a process, if it is still the one that we remember, and wait until it is gone."""
    if process.pid == os.getpid():
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # Checked after the pidfd was opened: from here on it cannot become another process.
        if _start_time(process.pid) != process.started:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not select.select([descriptor], [], [], timeout)[0]:
            log.error("a process does not die", pid=process.pid)
    finally:
        os.close(descriptor)


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may itself hold spaces and parentheses.
    return int(text.rpartition(")")[2].split()[19])
