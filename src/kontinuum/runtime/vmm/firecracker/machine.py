"""One Firecracker process: its life, its two sockets, and the files that are put into its disks."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation import process, sockets
from kontinuum.runtime.guest.port import NobodyAnswers
from kontinuum.runtime.jail.view import NotShown
from kontinuum.runtime.layers import Layers, copy_to, give_name
from kontinuum.runtime.taps import Apart
from kontinuum.runtime.vmm import writers
from kontinuum.runtime.vmm.firecracker import documents
from kontinuum.runtime.vmm.firecracker.api import Api
from kontinuum.runtime.vmm.firecracker.documents import DRIVES, Drive
from kontinuum.runtime.vmm.port import DISK_BYTES, MachineNotStarted, MachineRefused, Origin
from kontinuum.runtime.vmm.templates import Template

COMMAND_SECONDS = 60.0
"""Saving a machine's memory takes the longest; what takes longer has been swallowed."""
CALL_SECONDS = 10.0
_CALL_LIMIT = 64
"""Bytes of the longest answer to CONNECT."""


@dataclass(frozen=True, slots=True)
class View:
    """How files and sockets inside the jail are reached; another one where there is no jail."""

    cover: Callable[[str, int, bool], None]
    """(target, open file, read only): let it be seen there. Raises NotShown."""
    uncover: Callable[[str], None]
    """Let again be seen there what was seen before. Raises NotShown."""
    open_socket: Callable[[str], int]
    """A descriptor (O_PATH) of a socket that Firecracker itself made. Raises OSError, NotListening."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A Firecracker that has been started, and has been told nothing yet."""

    child: process.Child
    view: View
    user: int
    """Whom it runs as."""
    tap: Apart | None
    """What its machine's network card is; closed when it has ended."""


@dataclass(slots=True)
class _Attached:
    """What is in a disk."""

    file: int
    """The image, open; and if it is written to, locked."""
    owner: tuple[int, int] | None
    """User and group that the image is given back to."""


class FirecrackerMachine:
    """A ``Machine``. Made by ``Firecracker``; the process is our child and dies with us."""

    def __init__(
        self,
        launched: Launched,
        locks: socket.socket,
        *,
        origin: Origin,
        layers: Layers,
        on_end: Callable[[], None],
    ) -> None:
        """``locks`` leads to a socket that the process holds and never reads; ``on_end`` is called when it is gone."""
        self.api = Api(lambda: launched.view.open_socket(documents.API_SOCKET), seconds=COMMAND_SECONDS)
        self._child = launched.child
        self._view = launched.view
        self._user = launched.user
        self._tap = launched.tap
        self._locks = locks
        self._origin = origin
        self._layers = layers
        self._on_end = on_end
        self.shares: Template | None = None
        """The template whose memory it maps."""
        self._attached: dict[Drive, _Attached] = {}
        self._swapping = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._ended = False

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def tap(self) -> Apart | None:
        return self._tap

    async def dial_agent(self) -> socket.socket:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await call(self._open_agent_socket, documents.AGENT_PORT)
        except TimeoutError as error:
            raise NobodyAnswers(f"Firecracker has not put the call through for {CALL_SECONDS:g} s") from error

    def _open_agent_socket(self) -> int:
        return self._view.open_socket(documents.AGENT_SOCKET)

    @property
    def born_layer(self) -> str:
        return ""

    async def attach_layer(self, path: Path | None) -> str:
        # With KVM, which Firecracker has, mounting one costs a millisecond: none is there from the start.
        await self._layers.prepare()
        file = self._layers.copy(self._layers.empty)
        try:
            if path is None:
                return await self.attach_disk(Path(f"/proc/self/fd/{file}"), read_only=False)
            if not give_name(file, path):
                os.close(copy_to(file, path))
        finally:
            os.close(file)
        return await self.attach_disk(path, read_only=False)

    async def attach_disk(self, image: Path, *, read_only: bool) -> str:
        about = image.stat()
        if read_only and about.st_size != DISK_BYTES:
            raise MachineRefused(f"{image}: a disk image must be exactly {DISK_BYTES} bytes (sparse); pad it first")
        if not stat.S_ISREG(about.st_mode):
            raise MachineRefused(f"{image}: Firecracker is given files, not devices; runtime.vmm: qemu takes both")
        async with self._swapping:
            drive = self._free(read_only=read_only)
            with ExitStack() as undo:
                attached = self._open(image, read_only=read_only, undo=undo)
                self._change_view(lambda: self._view.cover(drive.path, attached.file, drive.read_only))
                undo.callback(self._hide, drive)
                await self.api.call(documents.look_again(drive))
                undo.pop_all()
            self._attached[drive] = attached
        return drive.slot(about.st_size)

    async def detach_disk(self, slot: str) -> None:
        async with self._swapping:
            drive = next((one for one in self._attached if one.name == slot.partition("@")[0]), None)
            if drive is None:
                return
            self._change_view(lambda: self._view.uncover(drive.path))
            await self.api.call(documents.look_again(drive))
            _let_go(self._attached.pop(drive))

    async def pause(self) -> None:
        await self.api.call(documents.pause())

    async def resume(self) -> None:
        await self.api.call(documents.resume())

    async def wait_full(self) -> None:
        await asyncio.Event().wait()

    def is_sound(self) -> bool:
        return self.shares is None or self.shares.is_untouched()

    def move(self, directory: Path) -> None:
        """Nothing of the machine is in there."""

    async def wait(self) -> int:
        return await self._child.wait()

    async def kill(self) -> None:
        async with self._ending:
            if self._ended:
                return
            self._child.signal(signal.SIGKILL, group=True)
            await self._child.wait()
            self._ended = True
            self._child.close()
            self._locks.close()
            while self._attached:
                _let_go(self._attached.popitem()[1])
            self._on_end()

    def _free(self, *, read_only: bool) -> Drive:
        """Raises MachineRefused."""
        places = [drive for drive in DRIVES if drive.read_only == read_only]
        for drive in places:
            if drive not in self._attached:
                return drive
        kind = "different images" if read_only else "volumes and what containers write"
        raise MachineRefused(
            f"a machine of Firecracker's has {len(places)} disks for {kind} and all of them are in use; "
            "set runtime.vmm: qemu for pods with more"
        )

    def _open(self, image: Path, *, read_only: bool, undo: ExitStack) -> _Attached:
        """The image, as this machine may use it. Raises DiskInUse."""
        file = os.open(image, os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR))
        undo.callback(os.close, file)
        if read_only:
            return _Attached(file, None)
        writers.lock(file, image)
        undo.callback(fcntl.flock, file, fcntl.LOCK_UN)
        self._hold(file)
        # Firecracker opens it itself, as its own user. Nobody else is that user while the machine lives.
        about = os.fstat(file)
        os.fchown(file, self._user, self._user)
        undo.callback(os.fchown, file, about.st_uid, about.st_gid)
        return _Attached(file, (about.st_uid, about.st_gid))

    def _hold(self, file: int) -> None:
        """Leave a copy of the locked file in a message that the VMM's process has and never reads: so the lock ends
        when that process does, and not before, even if ours is killed first."""
        ours = array.array("i", [file])
        try:
            self._locks.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ours)])
        except OSError as error:
            raise MachineNotStarted(f"Firecracker went away before it was given a disk: {error}") from error

    def _change_view(self, change: Callable[[], None]) -> None:
        try:
            change()
        except NotShown as error:
            raise MachineNotStarted(f"what Firecracker sees cannot be changed: {error}") from error

    def _hide(self, drive: Drive) -> None:
        with suppress(NotShown):
            self._view.uncover(drive.path)


async def call(open_socket: Callable[[], int], port: int) -> socket.socket:
    """A line to the ``port`` of a guest by its vsock's socket on the host. Raises NobodyAnswers.

    Source: Firecracker's ``docs/vsock.md``: ``CONNECT PORT`` is answered with ``OK NUMBER`` if somebody in the guest
    has taken the call, and by hanging up if not.
    """
    loop = asyncio.get_running_loop()
    try:
        opened = open_socket()
        try:
            line = await sockets.dial_unix(Path(f"/proc/self/fd/{opened}"))
        finally:
            os.close(opened)
    except (OSError, sockets.NotListening) as error:
        raise NobodyAnswers(f"the vsock's socket: {error}") from error
    try:
        await loop.sock_sendall(line, f"CONNECT {port}\n".encode())
        answer = b""
        # One byte at a time: what comes after the line is the agent's.
        while not answer.endswith(b"\n"):
            byte = await loop.sock_recv(line, 1)
            if not byte or len(answer) > _CALL_LIMIT:
                raise NobodyAnswers("nobody in the guest has taken the call" if not byte else "no answer to CONNECT")
            answer += byte
        word, _, number = answer.decode(errors="replace").partition(" ")
        if word != "OK" or not number.strip().isdecimal():
            raise NobodyAnswers(f"the call was answered with {answer!r}")
    except OSError as error:
        line.close()
        raise NobodyAnswers(f"the vsock's socket: {error}") from error
    except BaseException:
        line.close()
        raise
    return line


def _let_go(attached: _Attached) -> None:
    if attached.owner is not None:
        os.fchown(attached.file, *attached.owner)
        fcntl.flock(attached.file, fcntl.LOCK_UN)
    os.close(attached.file)
