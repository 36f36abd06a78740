"""One private mount namespace per installation, kept alive by a holder, so that a new supervisor finds the old mounts.

containerd and the node agent mount there. Nothing of it is seen on the host, and all of it vanishes with the holder;
but as long as pods run, a restarted containerd must come back into the *same* namespace, or it cannot see their
network namespaces any more.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from kontinuum.cli.processes import ProcessId, identify, is_alive
from kontinuum.foundation import process
from kontinuum.foundation.errors import Broken
from kontinuum.foundation.files import write_atomic

_CLONE_NEWNS = 0x0002_0000
_MS_REC, _MS_SLAVE, _MS_SHARED = 1 << 14, 1 << 19, 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class NoNamespace(Broken):
    """The kernel or our rights do not allow a private mount namespace."""


def enter(record: Path) -> ProcessId:
    """Put the calling process (it must have one thread) into the installation's namespace; returns the holder.

    ``record`` is the file that remembers the holder. Raises NoNamespace.
    """
    holder = recorded(record)
    if holder is not None:
        with Path(f"/proc/{holder.pid}/ns/mnt").open("rb") as namespace:
            _call("setns", namespace.fileno(), _CLONE_NEWNS)
        return holder
    _call("unshare", _CLONE_NEWNS)
    # Slave first: what the host mounts later still arrives here, what we mount never leaves. Then shared: containers
    # and pods in namespaces below ours receive our mounts, also where the host's root is private.
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_SHARED, None)
    child = process.spawn("sleep", "infinity", stdout=_null(), stderr=_null())
    holder = identify(child.pid)
    write_atomic(record, f"{holder.pid} {holder.started}\n", mode=0o600)
    return holder


def recorded(record: Path) -> ProcessId | None:
    """The holder, if it lives."""
    try:
        pid, started = record.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    holder = ProcessId(int(pid), int(started))
    return holder if is_alive(holder) else None


def release(record: Path) -> None:
    """Let the namespace go, with every mount in it."""
    holder = recorded(record)
    if holder is not None:
        os.kill(holder.pid, signal.SIGKILL)
    record.unlink(missing_ok=True)


def _null() -> int:
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise NoNamespace(f"a private mount namespace: {name}: {reason}; run as root, with CAP_SYS_ADMIN")
