"""Forks a server for each line of its input, which names a file with settings; says each one's process id."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from kontinuum.cli import assemble, parts
from kontinuum.store.etcd import members

assert members  # imported for the children, as what ``preload`` imports is
assemble.preload("server")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
# Nobody asks how the servers have ended; ignored, they leave no zombies.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    child = os.fork()
    if not child:
        # When a test run is cut off, our input ends, and no server must be left behind.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(line.strip(), os.O_RDONLY), 0)
        sys.stdin = open(0)  # noqa: SIM115 (it lives as long as the process)
        os.dup2(2, 1)
        sys.exit(parts.main(["server"]))
    print(child, flush=True)
