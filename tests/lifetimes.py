"""What tests have started ends with their process, whatever ends that: SIGKILL leaves it no moment to clean up."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BOUND = ("setpriv", "--pdeathsig", "KILL")
"""Put before a command: the kernel kills its process when the *thread* that started it ends."""


@contextmanager
def afterwards(*command: str | Path) -> Iterator[None]:
    """If this process ends within the block, ``command`` is run by somebody whom that does not reach.

    For what has to be taken apart, and not only killed. It runs in our directory and mount namespace as they are now.
    """
    # The end of its input tells it of ours. A session of its own: time limits are kept by killing process groups. Its
    # task is not on its command line, where tests that look for what is left would find it.
    watcher = subprocess.Popen(
        ["sh", "-c", 'read -r all_is_done || eval "exec $AFTERWARDS"'],
        env={**os.environ, "AFTERWARDS": shlex.join(map(str, command))},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.communicate(b"yes\n")


def told_of(*words: str | Path) -> dict[int, str]:
    """The processes, but for this one, on whose command line one of ``words`` stands: pid -> command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if any(str(word) in line for word in words):
                found[int(process.name)] = line
    found.pop(os.getpid(), None)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs: who only waits to be reaped has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def kill(*pids: int) -> None:
    """SIGKILL; who is gone already is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
