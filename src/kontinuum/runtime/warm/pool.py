"""Where machines wait for their pods, and how exactly one pod gets each of them.

    making-SIZE-NAME ── rehearsed, paused ──▶ ready-SIZE-NAME ── a pod takes it ──▶ the pod's own directory
            │                                      │ dead, or not wanted
            └──────────────────────────────────────┴──▶ ending-SIZE-NAME ──▶ nothing

Each arrow is one rename, and the kernel lets only one caller do it: whoever has renamed a machine's directory owns the
machine. So two pods never get one, without a lock that somebody could die with.

A pod takes a machine in four steps. Whoever dies between any two of them leaves nothing behind:

    1. connect to the standby's socket  a standby that is dead is noticed here, and ended
    2. rename its directory             died after it: the standby hears the line break, finds itself moved, and ends
    3. hand over the request            the standby is the pod's shim when it has answered; one that does not is ended
    4. say that containerd knows        died before it: the line breaks, and the shim of a pod that nobody knows ends
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from kontinuum.runtime import records
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.records import SandboxRecord
from kontinuum.runtime.vmm.port import Size

log = structlog.get_logger(__name__)

MAKING, READY, ENDING = "making", "ready", "ending"
SOCKET = "claim.sock"
LENGTH = struct.Struct("=I")
TAKEN, KNOWN = b"\1", b"\2"
"""What the standby says after step 3, and what it is told in step 4."""
REQUEST_LIMIT = 1 << 20
ANSWER_SECONDS = 2.0
"""A standby answers in milliseconds; with one that hangs a start loses less than a boot would take."""
_UNBORN_SECONDS = 60.0
"""How old a directory without a record is before it counts as left behind."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The machines below ``directory``. ``users`` says which user of the host each one's VMM runs as."""

    directory: Path
    users: Users

    def begin(self, size: Size) -> Path:
        """A directory for a machine that is to be made by this process."""
        directory = self.directory / f"{MAKING}-{_text(size)}-{secrets.token_hex(4)}"
        directory.mkdir(parents=True, mode=0o700)
        me = records.process_record(os.getpid())
        records.write(directory, SandboxRecord("", (me,) if me is not None else ()))
        return directory

    def offer(self, directory: Path) -> Path:
        """From here on a pod may take the machine that was made in ``directory``. Answers where it is now."""
        there = directory.with_name(directory.name.replace(MAKING, READY, 1))
        self.users.move(directory, there)
        return there

    def making(self, size: Size) -> list[Path]:
        """Machines that are not finished."""
        return self._all(f"{MAKING}-{_text(size)}-")

    def ready(self, size: Size) -> list[Path]:
        """Machines that a pod may take."""
        return self._all(f"{READY}-{_text(size)}-")

    def others(self, size: Size) -> list[Path]:
        """Machines of other sizes that a pod may take."""
        mine = self.ready(size)
        return [directory for directory in self._all(f"{READY}-") if directory not in mine]

    def take(self, size: Size, home: Path, request: bytes) -> Taken | None:
        """A machine of this size whose standby has become the shim of the sandbox with the directory ``home``, which
        is not there yet; None if there is none. ``request`` is what containerd's client asked. Blocks for milliseconds.
        """
        for directory in self.ready(size):
            line = self._call(directory)
            if line is None:
                continue
            if not self.users.move(directory, home):
                line.close()
                continue
            if _hand_over(line, request):
                return Taken(line)
            line.close()
            log.error("a warm machine did not answer the pod that took it; another is started", sandbox=home.name)
            records.take_apart(home)
            return None
        return None

    def end(self, directory: Path) -> None:
        """End a machine that is not wanted, or what is left of one; nothing happens if somebody has taken it."""
        kind, _, rest = directory.name.partition("-")
        there = directory if kind == ENDING else directory.with_name(f"{ENDING}-{rest}")
        if there == directory or self.users.move(directory, there):
            records.take_apart(there)

    def sweep(self, *, everything: bool = False) -> None:
        """End what nobody looks after any more: standbys that died. ``everything``: those that live, too."""
        for directory in self._all(""):
            if everything or _is_abandoned(directory):
                self.end(directory)

    def _call(self, directory: Path) -> socket.socket | None:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        line.settimeout(ANSWER_SECONDS)
        try:
            line.connect(str(directory / SOCKET))
        except FileNotFoundError:
            line.close()  # somebody else was faster
            return None
        except OSError:
            line.close()
            self.end(directory)
            return None
        return line

    def _all(self, beginning: str) -> list[Path]:
        """Those that have waited longest come first: they are the first to be given away, and to be ended."""
        try:
            found = [entry for entry in self.directory.iterdir() if entry.name.startswith(beginning)]
        except FileNotFoundError:
            return []
        return [entry for _since, entry in sorted(_with_times(found))]


@dataclass(frozen=True, slots=True)
class Taken:
    """A pod's shim that has just come to be. It ends unless ``confirm`` is called."""

    line: socket.socket

    def confirm(self) -> None:
        """containerd knows of it."""
        with closing(self.line):
            self.line.sendall(KNOWN)


def _hand_over(line: socket.socket, request: bytes) -> bool:
    try:
        line.sendall(LENGTH.pack(len(request)) + request)
        return line.recv(1) == TAKEN
    except OSError:
        return False


def _is_abandoned(directory: Path) -> bool:
    record = records.read(directory)
    if record is None or not record.processes:
        try:
            return time.time() - directory.stat().st_mtime > _UNBORN_SECONDS
        except FileNotFoundError:
            return False
    return records.process_record(record.processes[0].pid) != record.processes[0]


def _with_times(entries: list[Path]) -> Iterator[tuple[int, Path]]:
    for entry in entries:
        try:
            yield entry.stat().st_mtime_ns, entry
        except FileNotFoundError:
            continue


def _text(size: Size) -> str:
    return f"{size.memory_bytes >> 20}-{size.cpus}"
