"""Who is served first where processors are short."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from kontinuum.foundation.priority import FORWARD, step_forward


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def _begin_one_more() -> tuple[int, int]:
    """The niceness of a thread that stepped forward, and of one that it started then."""
    step_forward("it waits its turn")
    with ThreadPoolExecutor(1) as pool:
        return _nice(), pool.submit(_nice).result()


def test_a_thread_steps_forward_with_those_that_it_starts() -> None:
    before = _nice()
    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        now = pool.submit(_begin_one_more).result()
    if logs:
        assert (logs[0]["event"], now) == ("it waits its turn", (before, before))
    else:
        assert now == (FORWARD, FORWARD)
    assert _nice() == before


def test_who_may_not_is_told_what_comes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    with capture_logs() as logs:
        step_forward("it waits its turn")
    assert logs == [{"event": "it waits its turn", "error": "Permission denied", "log_level": "info"}]
