"""What the sandbox asks of the agent inside its machine, in whole sentences; ``connection`` speaks them on the wire.

Every call may raise GuestLost when the machine or its agent is gone. Processes outlive nothing: when the agent goes,
each of them counts as killed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.runtime.seccomp import NO_FILTER, Filter

FILE_LIMIT = 64 << 10
"""Bytes of the longest file that the agent hands out."""


class GuestLost(Retryable):
    """The agent does not answer any more: the machine died, its kernel panicked, or the agent was killed."""


class NobodyAnswers(Retryable):
    """Nobody in the machine takes calls yet, or any more; who waits for it to boot calls again in a moment."""


Dial = Callable[[], Awaitable[socket.socket]]
"""Opens a new line to the agent of one machine: a connected, non-blocking stream socket, which the caller closes. The
last one must be closed before, and the agent may take a moment to notice that it was. Raises NobodyAnswers."""


class GuestRefused(Refused):
    """The agent could not do it; the message is its reason (``mount /dev/vda: No such device``)."""


class ProcessNotStarted(GuestRefused):
    """``execve`` failed; ``errno`` says why (ENOENT: command not found, EACCES: not executable)."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface as the pod's network set it up on the host; addresses with prefix length."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]
    """(destination with prefix length, gateway or "")."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes this machine itself and not its template."""

    hostname: str
    unix_time: float
    entropy: bytes
    machine_id: str
    interfaces: tuple[Interface, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount inside a container, as in the OCI runtime specification. ``source`` of a bind is a path in the guest.

    Of the types ``masked`` and ``readonly`` the destination is hidden, or protected, once all others are there.
    """

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container's surroundings: root file system from a disk slot under a writable layer, mounts, limits."""

    id: str
    slot: str
    file_system: str
    """``erofs``, ``squashfs`` or ``ext4``."""
    mounts: tuple[Mount, ...] = ()
    read_only_root: bool = False
    memory_limit_bytes: int = 0
    cpu_quota_microseconds: int = 0
    """Per 100 ms period; 0 is unlimited."""
    pids_limit: int = 0
    filter: Filter = NO_FILTER
    """What its processes may ask of the kernel."""
    layer: str = ""
    """The slot of the disk with its writable layer (``Machine.attach_layer``); "": it lies in memory."""


@dataclass(frozen=True, slots=True)
class VolumeDisk:
    """A disk whose file system the pod's containers share as a volume. It is made to fill the disk if it is smaller."""

    slot: str
    file_system: str
    """"" for none: the containers have the disk itself."""
    path: str
    """Where it is mounted in the guest, or its device is found."""
    group: int | None = None
    """Whom its root directory is given to, as Kubernetes' ``fsGroup``."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of a container: its first one, or an exec."""

    container: str
    id: str
    """Unique in the machine."""
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    """``NAME=value``."""
    directory: str
    user: int = 0
    group: int = 0
    additional_groups: tuple[int, ...] = ()
    capabilities: int = 0
    """Bit mask of effective/permitted/bounding capabilities (CAP_CHOWN is bit 0)."""
    no_new_privileges: bool = False
    terminal: bool = False
    rows: int = 0
    columns: int = 0
    stdin: bool = False
    rlimits: tuple[tuple[int, int, int], ...] = ()
    """(resource, soft, hard)."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, as ``wait`` in a shell would say: 0-255, or 128 + signal."""

    status: int
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Usage of one container, from its cgroup in the guest."""

    cpu_nanoseconds: int
    memory_bytes: int
    memory_inactive_file_bytes: int
    memory_limit_bytes: int
    processes: int


class GuestProcess(Protocol):
    """A started process. Output is held back inside the guest until it is read here (back-pressure end to end)."""

    @property
    def pid(self) -> int:
        """Its number inside the guest."""
        ...

    def stdout(self) -> AsyncIterator[bytes]: ...

    def stderr(self) -> AsyncIterator[bytes]: ...

    async def write_stdin(self, data: bytes) -> None:
        """Returns when the guest has room for more."""
        ...

    async def close_stdin(self) -> None: ...

    async def resize(self, *, rows: int, columns: int) -> None: ...

    async def signal(self, number: int, *, whole_container: bool = False) -> None:
        """Raises GuestRefused if it has ended."""
        ...

    async def wait(self) -> Exit:
        """How it ended. Output may still be on its way: drain stdout and stderr too."""
        ...


class GuestConnection(Protocol):
    """A TCP connection inside the guest, held back like the output of processes. It must be closed."""

    def chunks(self) -> AsyncIterator[bytes]:
        """What comes from it, until its other side says that there is no more."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when the guest has room for more. Raises GuestRefused if the other side takes no more."""
        ...

    async def end(self) -> None:
        """There will be no more to write; what comes from it can still be read."""
        ...

    async def close(self) -> None:
        """Idempotent, and harmless when the guest is lost."""
        ...


class Guest(Protocol):
    """The agent inside one machine."""

    async def identify(self, identity: Identity) -> None:
        """Make a cloned machine its own: name, clock, randomness, network. Once, before any container; and once more
        after ``forget``."""
        ...

    async def clock(self, *, set_to: float | None = None) -> float:
        """What the guest's wall clock says (said, if it is set), in seconds since the epoch."""
        ...

    async def forget(self) -> None:
        """Leave the network that ``identify`` entered, so that the machine can be told anew who it is."""
        ...

    async def add_container(self, spec: ContainerSpec) -> None:
        """Assemble root file system, mounts and cgroup. Raises GuestRefused."""
        ...

    async def remove_container(self, container: str, *, layer: str = "", keep_layer: bool = False) -> None:
        """Kill what is left of it and take it apart. Idempotent, and right for one that was not made after all.

        Its ``layer`` is unmounted, so that the disk may be taken away; with ``keep_layer`` it stays as it was before
        the container, which should have written little. Raises GuestRefused: then the layer may still be in use.
        """
        ...

    async def update_container(
        self, container: str, *, memory_limit_bytes: int, cpu_quota_microseconds: int, pids_limit: int
    ) -> None:
        """Change limits live."""
        ...

    async def start_process(self, spec: ProcessSpec) -> GuestProcess:
        """Raises ProcessNotStarted."""
        ...

    async def write_tree(self, path: str, archive: bytes) -> None:
        """Make the directory (or file) ``path`` in the guest hold exactly what the tar ``archive`` holds.

        Atomic for readers in the way Kubernetes' AtomicWriter is, as far as the archive itself carries the symlinks.
        """
        ...

    async def read_file(self, path: str) -> bytes:
        """The content of a file in the guest. Raises GuestRefused, also for more than 64 KiB."""
        ...

    async def mount_memory(self, path: str, *, size_bytes: int) -> None:
        """Let what comes to lie at ``path`` take at most so much of the guest's memory, where that is less than what
        everything there may take together. Raises GuestRefused."""
        ...

    async def mount_disk(self, disk: VolumeDisk) -> None:
        """Raises GuestRefused."""
        ...

    async def unmount(self, path: str) -> None:
        """Let go of a disk or of memory that was mounted at ``path``.

        Returns when all that was written is on the disk. Raises GuestRefused, also if it is in use (but written), and
        if nothing is mounted there.
        """
        ...

    async def dial(self, port: int) -> GuestConnection:
        """Connect to a port of the guest's loopback. Raises GuestRefused if nobody listens."""
        ...

    async def stats(self, container: str) -> ContainerStats: ...

    async def processes(self, container: str) -> tuple[int, ...]:
        """Numbers inside the guest of all processes of a container."""
        ...

    async def wait_lost(self) -> str:
        """Why nothing can be asked of it any more, once that is so."""
        ...

    async def close(self) -> None: ...
