"""What an installation leaves outside its directories, by the names that carry its eight hex digits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import signal
import time
from pathlib import Path

from kontinuum.cli.installation import Installation
from kontinuum.node import network
from kontinuum.node.settings import NodeSettings

CGROUPS = Path("/sys/fs/cgroup")
ENDING_SECONDS = 10.0
"""How long processes that were killed may take to be gone."""


def remove(paths: Installation) -> None:
    """Remove the node's interface, pods' cgroups and the rules for their traffic; what is not there is passed over.
    Whatever of pods still runs is killed.

    Nothing of the installation may run any more, containerd and pods included.
    """
    settings = NodeSettings(data_dir=str(paths.data))
    kill_lost_shims(settings.socket)
    kill_lost_processes(settings.cgroup)
    asyncio.run(network.remove(settings))
    remove_cgroups(paths)
    remove_logs(settings)


def remove_logs(settings: NodeSettings) -> None:
    """Remove the logs of this installation's pods, where they are not in its own directory, and links to none."""
    volumes = settings.data / "pods"
    for volume in volumes.iterdir() if volumes.is_dir() else ():
        for directory in settings.pod_logs.glob(f"*_{volume.name}"):
            shutil.rmtree(directory, ignore_errors=True)
    for link in settings.container_logs.glob("*.log"):
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)


def remove_directory(directory: Path) -> None:
    """Remove it, if it is there; one that is a disk of its own stays, and is empty. Raises OSError."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EBUSY or any(directory.iterdir()):
            raise


def kill_lost_shims(socket: Path) -> list[int]:
    """Kill the shims that serve the containerd at ``socket``, which has ended; answers their process ids.

    There are none, but for those that containerd has lost: on a very busy machine version 1.6 gives up a shim that has
    only just started, and nobody ever tells that one to go.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(pair == (b"-address", bytes(socket)) for pair in itertools.pairwise(words)):
                os.kill(int(process.name), signal.SIGKILL)
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended meanwhile.
    return found


def kill_lost_processes(cgroup: str, root: Path = CGROUPS, *, seconds: float = ENDING_SECONDS) -> int:
    """Kill what is still in ``cgroup`` and below, in any hierarchy; answers how many processes that were.

    None, as a rule. But a pod whose shim is gone, or that did not stop in the time it had, has nobody left who ends it.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while (left := _members(cgroup, root)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= left
        time.sleep(0.02)  # the kernel buries a killed process in its own time
    return len(killed)


def _members(cgroup: str, root: Path) -> set[int]:
    found: set[int] = set()
    for hierarchy in (root, *root.iterdir()):
        for below, _, _ in os.walk(hierarchy / cgroup.lstrip("/")):
            with contextlib.suppress(OSError):
                found |= {int(word) for word in Path(below, "cgroup.procs").read_text().split()}
    return found - {os.getpid()}


def remove_cgroups(paths: Installation) -> bool:
    """Remove the cgroups in which pods ran, in every hierarchy. Those that still hold processes stay.

    Returns whether none stays.
    """
    parent = NodeSettings(data_dir=str(paths.data)).cgroup.lstrip("/")
    directories = [hierarchy / parent for hierarchy in [CGROUPS, *CGROUPS.iterdir()]]
    for directory in directories:
        remove_cgroup(directory)
    return not any(directory.is_dir() for directory in directories)


def remove_cgroup(directory: Path) -> None:
    """Remove an empty tree of cgroups, leaves first. A cgroup that still holds processes stays."""
    if not directory.is_dir():
        return
    for inner, _, _ in os.walk(directory, topdown=False):
        try:
            Path(inner).rmdir()
        except OSError:
            return  # Busy: somebody lives there, and everything above is busy too.
