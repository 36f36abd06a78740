"""Who is served first where processors are short."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from kontinuum.foundation import priority
from kontinuum.foundation.priority import FORWARD, step_forward

Said = list[tuple[str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What is told, and why."""
    told: Said = []
    monkeypatch.setattr(priority, "log", SimpleNamespace(info=lambda what, *, error: told.append((what, error))))
    return told


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def _begin_one_more() -> tuple[int, int]:
    """The niceness of a thread that stepped forward, and of one that it started then."""
    step_forward("it waits its turn")
    with ThreadPoolExecutor(1) as pool:
        return _nice(), pool.submit(_nice).result()


def test_a_thread_steps_forward_with_those_that_it_starts(said: Said) -> None:
    before = _nice()
    with ThreadPoolExecutor(1) as pool:
        now = pool.submit(_begin_one_more).result()
    assert now == ((before, before) if said else (FORWARD, FORWARD))
    assert _nice() == before


def test_who_may_not_is_told_what_comes_of_it(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    step_forward("it waits its turn")
    assert said == [("it waits its turn", "Permission denied")]
