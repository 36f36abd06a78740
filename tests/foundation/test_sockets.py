"""UNIX sockets fit, replace what the dead have left, and carry the word "ready"."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.sockets import (
    NotListening,
    PathTooLong,
    ReadyListener,
    check_path,
    is_listening,
    listen_unix,
    listener_of,
    notify_ready,
    wait_listening,
)


def test_a_path_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PathTooLong, match="longer than the 107 bytes"):
        check_path(tmp_path / ("x" * 108))


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listen_unix(path).close()
    assert path.exists()
    assert not is_listening(path)
    assert listener_of(path) is None
    with listen_unix(path):
        assert is_listening(path)
        assert listener_of(path) == os.getpid()
        assert path.stat().st_mode & 0o777 == 0o600


async def test_waiting_for_a_listener_ends_at_its_time(tmp_path: Path) -> None:
    with pytest.raises(NotListening, match=r"nobody listened within 0\.02 s"):
        await wait_listening(tmp_path / "socket", timeout=0.02, clock=RealClock())
    with listen_unix(tmp_path / "socket"):
        await wait_listening(tmp_path / "socket", timeout=0.02, clock=RealClock())


async def test_readiness_reaches_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify_ready()
    listener = ReadyListener(tmp_path / "ready")
    monkeypatch.setenv("NOTIFY_SOCKET", listener.environment["NOTIFY_SOCKET"])
    assert notify_ready("STATUS=importing")
    assert notify_ready()
    await listener.wait_ready()
    listener.close()
    assert not (tmp_path / "ready").exists()
    assert not notify_ready()


def test_a_process_gets_the_open_files_that_it_wants_as_far_as_the_system_allows() -> None:
    program = (
        "import resource; from kontinuum.foundation.sockets import allow_open_files as allow;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200));"
        "print(allow(50), allow(150), allow(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["100", "150", "200", "200"]
