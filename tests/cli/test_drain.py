"""``kontinuum down --drain``: the agent is told, and waited for, before anything is taken down."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from kontinuum.cli import state
from kontinuum.cli.commands import down
from kontinuum.node.settings import NodeSettings
from kontinuum.node.shutdown.progress import Progress

AGENT = 4711


def platform(*parts: state.PartState) -> state.PlatformState:
    return state.PlatformState(
        version="1", pid=os.getpid(), started=0, since=0.0, ready=True, address="", data_dir="/d", accelerator="",
        vmm="", parts=list(parts),
    )  # fmt: skip


def agent(*, ready: bool = True) -> state.PartState:
    now = "ready" if ready else "starting"
    return state.PartState(name="node", state=now, pid=AGENT, since=0.0, restarts=0, last_exit="", log="node.log")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    monkeypatch.setattr(down, "DRAIN_SLACK_SECONDS", 0.0)
    return signals


def progress(settings: NodeSettings, found: Progress) -> None:
    settings.shutdown_file.parent.mkdir(parents=True, exist_ok=True)
    settings.shutdown_file.write_bytes(msgspec.json.encode(found))


def test_the_agent_is_told_and_its_end_believed(
    tmp_path: Path, told: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = NodeSettings(run_dir=str(tmp_path), shutdown_grace_period=5)
    progress(settings, Progress(AGENT, 2, over=True))
    down._drain(platform(agent()), settings)
    assert told == [(AGENT, signal.SIGUSR1)]
    assert capsys.readouterr().out == "The node's pods have ended, but for 2.\n"


def test_who_is_not_over_in_time_or_was_another_agent_is_not_believed(
    tmp_path: Path, told: list[tuple[int, int]]
) -> None:
    settings = NodeSettings(run_dir=str(tmp_path), shutdown_grace_period=0.2)
    progress(settings, Progress(AGENT, 3, over=False))
    with pytest.raises(down.NotDrained, match="3 are left; see node"):
        down._drain(platform(agent()), settings)
    progress(settings, Progress(AGENT + 1, 0, over=True))
    with pytest.raises(down.NotDrained):
        down._drain(platform(agent()), settings)


def test_without_an_agent_nothing_is_taken_down(tmp_path: Path, told: list[tuple[int, int]]) -> None:
    for parts in ((), (agent(ready=False),)):
        with pytest.raises(down.NotDrained, match="the node agent does not run"):
            down._drain(platform(*parts), NodeSettings(run_dir=str(tmp_path)))
    assert told == []
