"""Kill a process between any two lines of the code under test, as SIGKILL does: only the kernel tidies up."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

KILLED, FAILED = 99, 98


def forked(work: Callable[[], object]) -> int:
    """A child that does ``work`` and exits with 0. Answers its process number."""
    child = os.fork()
    if child:
        return child
    code = FAILED
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def exit_of(child: int) -> int:
    """Its exit code, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying_at(line: int, modules: tuple[ModuleType, ...], work: Callable[[], object]) -> Callable[[], None]:
    """``work``, in a process that dies just before the ``line``-th line of ``modules`` that is executed (from 0)."""
    files = {module.__file__ for module in modules}
    left = [line]

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            if left[0] == 0:
                os._exit(KILLED)
            left[0] -= 1
        return trace

    def run() -> None:
        threading.settrace(trace)
        sys.settrace(trace)
        work()

    return run
