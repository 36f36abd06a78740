"""What is left outside the directories of an installation."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.lifetimes import BOUND

from kontinuum.cli import leftovers


def test_a_shim_that_containerd_has_lost_is_killed_and_nobody_else_s(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "containerd.sock", tmp_path / "other" / "containerd.sock"
    shims = [
        subprocess.Popen([*BOUND, "sh", "-c", "read nothing", "shim", *words], stdin=subprocess.PIPE)
        for words in (("-id", "a", "-address", mine), ("-id", "b", "-address", theirs), ("-id", "-address", "c", mine))
    ]
    try:
        assert leftovers.kill_lost_shims(mine) == [shims[0].pid]
        assert shims[0].wait(30) == -signal.SIGKILL
        assert [shim.poll() for shim in shims[1:]] == [None, None]
        assert leftovers.kill_lost_shims(mine) == []
    finally:
        for shim in shims:
            shim.kill()
            shim.communicate()
