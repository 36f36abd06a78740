"""What a virtual machine monitor must do for a pod's sandbox. The port belongs to the sandbox; backends follow it.

A machine is bought whole (``MachineSpec``), runs until it is killed or dies, and is reached by one byte stream to the
agent inside it. How it comes up (cloned from a template, or booted cold) is the backend's business; ``Machine.origin``
tells which it was. Whoever keeps machines warm pauses them until they are needed.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from kontinuum.foundation.errors import Broken, Refused, Retryable
from kontinuum.runtime.taps import Apart

Origin = Literal["template", "cold"]
DISK_BYTES = 16 << 30
"""Images of root file systems are padded (sparsely) to this size: to exchange such disks needs no word to the guest."""


class MachineNotStarted(Retryable):
    """The VMM could not bring the machine up this time; the message carries its last words."""


class MachineRefused(Refused):
    """No machine can be made to this specification (too little memory for the kernel, too many disks ...)."""


class DiskInUse(MachineRefused):
    """Somebody else writes to the disk: another machine, or this host has it mounted."""


class VmmMissing(Broken):
    """The VMM's program, the guest kernel or the agent is not on this host; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine has; machines of one size are alike."""

    memory_bytes: int
    cpus: int


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What the sandbox asks for. Sizes are rounded up to what the backend has templates for."""

    id: str
    """Unique on this host; names the machine's directory, sockets and cgroup."""
    memory_bytes: int
    cpus: int
    tap: int | None
    """File descriptor of a tap device (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR). None for a machine without network, and for
    those of a VMM that ``brings_taps``."""
    mac: str
    directory: Path
    """A directory of the caller's, on a tmpfs, with a short path (UNIX sockets); the caller removes it afterwards."""


class Machine(Protocol):
    """One running machine. Its process is a child of the caller, so that it can be placed in cgroups and reaped."""

    @property
    def pid(self) -> int:
        """The VMM's process on the host."""
        ...

    @property
    def origin(self) -> Origin: ...

    @property
    def tap(self) -> Apart | None:
        """The tap that the VMM has brought, for the pod's network to be joined to; the machine's, until its end."""
        ...

    async def dial_agent(self) -> socket.socket:
        """A new line to the agent inside the machine; see ``guest.port.Dial``. Raises NobodyAnswers."""
        ...

    @property
    def born_layer(self) -> str:
        """The slot of the layer that it is born with, which its guest has mounted already; "" if there is none."""
        ...

    async def attach_disk(self, image: Path, *, read_only: bool) -> str:
        """Give the machine a block device with the raw image's content; answers how the agent finds it (``slot`` name).

        A disk that is read only is DISK_BYTES long, and may be in many machines. One that is written to has any size,
        and is locked (flock(2), exclusively) for as long as this machine has it: DiskInUse while somebody else does.
        What the guest has flushed is on the host's disk. Raises MachineRefused when no slot is left.
        """
        ...

    async def attach_layer(self, path: Path | None) -> str:
        """Give the machine a disk with an empty file system, for what one container writes; answers its slot.

        On the host it is the new file ``path``, in a directory that is there, or one without a name. Raises
        MachineRefused when no slot is left, OSError (the host's disk is full).
        """
        ...

    async def detach_disk(self, slot: str) -> None:
        """Take an image, a volume or a layer away that the guest has let go of. Idempotent."""
        ...

    async def pause(self) -> None:
        """Stop its processors: until ``resume``, it uses none of the host's, and for its guest no time passes."""
        ...

    async def resume(self) -> None: ...

    async def wait_full(self) -> None:
        """Returns when it stands still because the host has no room for what it writes to a layer; at once if it does.

        ``resume`` has it try again. A backend whose guests are told of an error instead never returns. Who writes to a
        disk of another kind is told. Raises MachineNotStarted.
        """
        ...

    def is_sound(self) -> bool:
        """Whether the template that it shares memory with is still what it was; True of a machine that has none."""
        ...

    def move(self, directory: Path) -> None:
        """Learn that the directory in ``MachineSpec`` has been renamed by its owner, under the running machine."""
        ...

    async def wait(self) -> int:
        """The VMM's exit status (negative: the signal that killed it), once it has ended."""
        ...

    async def kill(self) -> None:
        """End the machine at once and wait for it. Idempotent; leaves no file or process of the backend behind."""
        ...


class Vmm(Protocol):
    """A backend."""

    @property
    def brings_taps(self) -> bool:
        """Its machines cannot be given a tap: each opens one itself, ``Machine.tap``."""
        ...

    async def start(self, spec: MachineSpec) -> Machine:
        """Bring a machine up by the fastest way there is. Raises MachineNotStarted, MachineRefused, VmmMissing."""
        ...

    def size(self, *, memory_bytes: int, cpus: int) -> Size:
        """What a machine that is asked for with so much has in the end. Raises MachineRefused."""
        ...

    async def prepare(self, *, memory_bytes: int, cpus: int) -> None:
        """Make (or verify) the template for machines of this size, so that the next ``start`` is fast. Idempotent."""
        ...
