"""The command answers people and scripts: help, exit codes, completion, JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from kontinuum.cli import state
from kontinuum.cli.commands import up as up_command
from kontinuum.cli.commands.status import describe
from kontinuum.cli.exits import Exit, NotRunning, code_of
from kontinuum.cli.processes import ProcessId, identify, is_alive, memory_bytes
from kontinuum.foundation import process
from kontinuum.foundation.addresses import AddressTaken
from kontinuum.foundation.errors import Broken, Refused, Retryable

KONTINUUM = Path(sys.executable).with_name("kontinuum")


async def kontinuum(*words: str | Path, **environment: str) -> process.Completed:
    return await process.run(KONTINUUM, *words, check=False, env={"TERM": "dumb", "COLUMNS": "120", **environment})


def test_an_error_says_by_its_kind_what_a_script_should_do() -> None:
    assert code_of(Retryable()) == Exit.FAILED == 1
    assert code_of(Refused()) == Exit.REFUSED == 2
    assert code_of(NotRunning()) == Exit.NOT_RUNNING == 3
    assert code_of(Broken()) == Exit.BROKEN == 4


async def test_status_and_down_know_that_nothing_runs(tmp_path: Path) -> None:
    asked = await kontinuum("status", "--data-dir", tmp_path / "none")
    assert asked.code == Exit.NOT_RUNNING
    assert b"start it: kontinuum up" in asked.stderr
    told = await kontinuum("down", "--data-dir", tmp_path / "none")
    assert (told.code, told.text) == (Exit.OK, "Kontinuum does not run.")


async def test_a_wrong_setting_is_one_line_and_its_own_exit_code(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("nod: {}\n")
    asked = await kontinuum("settings", "--data-dir", tmp_path, "--config", tmp_path / "wrong.yaml")
    assert asked.code == Exit.REFUSED
    assert asked.stderr.decode().splitlines() == [
        f'kontinuum: {tmp_path}/wrong.yaml: nod: no such setting; did you mean "node"?'
    ]
    unknown = await kontinuum("up", "--no-such-option")
    assert unknown.code == Exit.REFUSED


async def test_up_says_at_once_who_cannot_have_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_command, "FREE_SECONDS", 0.0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressTaken, match=listen):
            up_command.up(data_dir=tmp_path / "data", listen=listen, config=None, detach=True)
    assert not (tmp_path / "data").exists()


async def test_reset_does_not_touch_what_is_not_ours_nor_what_was_not_confirmed(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    foreign = await kontinuum("reset", "--yes", "--data-dir", tmp_path)
    assert foreign.code == Exit.REFUSED
    assert b"not a data directory of Kontinuum" in foreign.stderr
    (tmp_path / "pki").mkdir()
    asked = await kontinuum("reset", "--data-dir", tmp_path)  # Standard input is empty: nobody said yes.
    assert asked.code != Exit.OK
    assert (tmp_path / "letters.txt").read_text() == "mine"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_the_shell_completes_commands_and_options(shell: str) -> None:
    words = {"bash": ("kontinuum do", "1"), "zsh": ("kontinuum do", ""), "fish": ("kontinuum do", "")}[shell]
    answer = await kontinuum(
        _KONTINUUM_COMPLETE=f"complete_{shell}",
        COMP_WORDS=words[0],
        COMP_CWORD=words[1],
        _TYPER_COMPLETE_ARGS=words[0],
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "down" in answer.text
    assert "doctor" in answer.text


def test_a_state_whose_supervisor_has_died_is_no_state(tmp_path: Path) -> None:
    me = identify(os.getpid())
    living = state.PlatformState(
        version="1",
        pid=me.pid,
        started=me.started,
        since=1_700_000_000.0,
        ready=True,
        address="https://127.0.0.1:6443",
        data_dir="/d",
        accelerator="tcg",
        vmm="qemu",
        parts=[
            state.PartState(
                name="server", state="ready", pid=me.pid, since=1_700_000_000.0, restarts=2, last_exit="", log="/l"
            )
        ],
    )
    state.write(tmp_path / "state.json", living)
    assert state.read(tmp_path / "state.json") == living
    report = json.loads(json.dumps(describe(living)))
    assert report["parts"][0]["restarts"] == 2
    assert (report["accelerator"], report["vmm"]) == ("tcg", "qemu")
    assert report["parts"][0]["memoryBytes"] > 1 << 20
    # The same pid, begun at another time, is somebody else.
    (tmp_path / "state.json").write_bytes(
        (tmp_path / "state.json").read_bytes().replace(f'"started":{me.started}'.encode(), b'"started":1')
    )
    assert state.read(tmp_path / "state.json") is None
    assert state.read(tmp_path / "missing.json") is None


async def test_the_dead_are_not_alive_and_use_no_memory() -> None:
    child = process.spawn("sleep", "60")
    identity = identify(child.pid)
    assert is_alive(identity)
    assert not is_alive(ProcessId(child.pid, identity.started + 1))
    child.signal(9)
    await child.wait()
    child.close()
    assert not is_alive(identity)
    assert memory_bytes(child.pid) is None
    with pytest.raises(ProcessLookupError):
        identify(child.pid)


async def test_up_in_the_foreground_does_not_import_what_the_supervisor_will() -> None:
    program = "import sys, kontinuum.cli.main, kontinuum.cli.commands.up; print(*{'asyncio', 'ssl'} & set(sys.modules))"
    assert (await process.run(sys.executable, "-P", "-c", program)).text == ""
