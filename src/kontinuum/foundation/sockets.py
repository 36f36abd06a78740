"""UNIX sockets with paths that fit, and the word "ready" from a child to whoever started it.

Readiness follows systemd's sd_notify(3): a datagram ``READY=1`` to the socket that ``NOTIFY_SOCKET`` names. So the
parts can be supervised by ``kontinuum up`` or by systemd, and say the same.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused, Retryable

LONGEST_PATH = 107
"""Bytes of a UNIX socket's path (``sun_path`` has 108, one of them for the closing zero)."""


class PathTooLong(Refused):
    """The path does not fit a UNIX socket address; choose a shorter directory."""


class NotListening(Retryable):
    """Nobody answered on the socket in time."""


MANY_FILES = 1 << 16
"""For who serves streams: a session of exec takes two to four descriptors of every process on its way, and shells
begin with 1,024."""


def allow_open_files(wanted: int) -> int:
    """Let this process have ``wanted`` files and sockets open, as far as the system does. Answers how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def check_path(path: Path) -> str:
    """``path`` as text if it fits a UNIX socket address. Raises PathTooLong."""
    text = str(path)
    if len(os.fsencode(text)) > LONGEST_PATH:
        raise PathTooLong(f"{text}: longer than the {LONGEST_PATH} bytes that fit a UNIX socket's address")
    return text


def listen_unix(path: Path, *, mode: int = 0o600, backlog: int = 512) -> socket.socket:
    """A non-blocking listening stream socket at ``path``; what a dead process left there is replaced."""
    text = check_path(path)
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(text)
        path.chmod(mode)
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


async def dial_unix(path: Path) -> socket.socket:
    """A connected, non-blocking stream socket to whoever listens at ``path``. Raises OSError, PathTooLong."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(line, check_path(path))
    except BaseException:
        line.close()
        raise
    return line


def open_socket_of(user: int, path: Path) -> int:
    """A descriptor for the socket at ``path``, if it is a socket that ``user`` made, and not a link to anybody else's.

    Whoever can write to a directory can put what they like there; connected to by ``/proc/self/fd/NUMBER`` it is this
    socket and no other. The caller closes it. Raises OSError (FileNotFoundError, ELOOP), NotListening.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    about = os.fstat(found)
    if stat.S_ISSOCK(about.st_mode) and about.st_uid == user:
        return found
    os.close(found)
    raise NotListening(f"{path} is not a socket of user {user}")


def is_listening(path: Path) -> bool:
    """Whether a process accepts stream connections at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(check_path(path))
        except OSError:
            return False
    return True


def listener_of(path: Path) -> int | None:
    """The pid of the process that listens at ``path``; None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(check_path(path))
        except OSError:
            return None
        # struct ucred: pid, uid, gid of who called listen().
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid


async def wait_listening(path: Path, *, timeout: float, clock: Clock, interval: float = 0.01) -> None:
    """Wait until somebody accepts connections at ``path``. Raises NotListening after ``timeout`` seconds."""
    deadline = clock.monotonic() + timeout
    while not is_listening(path):
        if clock.monotonic() >= deadline:
            raise NotListening(f"{path}: nobody listened within {timeout:g} s")
        await clock.sleep(interval)


def notify_ready(message: str = "READY=1") -> bool:
    """Tell who started us that we serve. Returns False if nobody asked (no ``NOTIFY_SOCKET``)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # A leading @ means Linux's abstract name space.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(target)
        sender.send(message.encode())
        return True
    return False


class ReadyListener:
    """The other end of ``notify_ready``: give ``environment`` to one child and wait for its word."""

    def __init__(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.unlink()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(check_path(path))
        path.chmod(0o600)
        self._socket.setblocking(False)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self._path)}

    async def wait_ready(self) -> None:
        """Return when the child has said READY=1; wait for ever otherwise."""
        while "READY=1" not in (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode().split("\n"):
            pass

    def close(self) -> None:
        self._socket.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
