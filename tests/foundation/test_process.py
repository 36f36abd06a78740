"""Programs are run to their end, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.lifetimes import is_alive

from kontinuum.foundation import process
from kontinuum.foundation.process import ProgramFailed, ProgramMissing, ProgramTimedOut

SHELL = ("sh", "-c")


async def wait_gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while is_alive(pid):
            await asyncio.sleep(0.01)


async def test_output_and_input_of_any_length_pass_through() -> None:
    sent = os.urandom(1 << 20)
    done = await process.run("cat", stdin=sent)
    assert done.stdout == sent
    assert (await process.run("cat")).stdout == b""


async def test_a_failure_carries_code_and_last_words() -> None:
    with pytest.raises(ProgramFailed, match="ended with code 3: the disk is on fire") as caught:
        await process.run(*SHELL, "echo the disk is on fire >&2; exit 3")
    assert caught.value.code == 3
    done = await process.run(*SHELL, "exit 3", check=False)
    assert done.code == 3


async def test_a_missing_program_is_broken_not_retryable() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        await process.run("no-such-program")


async def test_a_time_limit_kills_the_program_and_its_children(tmp_path: Path) -> None:
    record = tmp_path / "grandchild"
    with pytest.raises(ProgramTimedOut, match=r"still running after 0\.3 s"):
        await process.run(*SHELL, f"sleep 60 & echo $! > {record}; wait", timeout=0.3)
    await wait_gone(int(record.read_text()))


async def test_cancelling_kills_the_program() -> None:
    began = time.monotonic()
    task = asyncio.create_task(process.run("sleep", "60"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 40


async def test_environment_is_added_to_ours() -> None:
    done = await process.run(*SHELL, "echo $ADDED $HOME", env={"ADDED": "yes"})
    assert done.text == f"yes {os.environ.get('HOME', '')}".rstrip()


async def test_stop_asks_first_and_kills_then() -> None:
    polite = process.spawn(*SHELL, "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", capture=True)
    stubborn = process.spawn(*SHELL, "trap '' TERM; echo ready; while :; do sleep 0.01; done", capture=True)
    for child in (polite, stubborn):
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
    assert await polite.stop(grace=5) == 5
    assert await stubborn.stop(grace=0.1) == -signal.SIGKILL
    polite.close()
    stubborn.close()


async def test_several_may_wait_for_one_child() -> None:
    child = process.spawn(*SHELL, "exit 4")
    assert await asyncio.gather(child.wait(), child.wait()) == [4, 4]
    assert await child.wait() == 4
    child.close()


async def test_a_child_that_shall_die_with_its_parent_does() -> None:
    parent = (
        "import time; from kontinuum.foundation import process;"
        "child = process.spawn('sleep', '60', die_with_parent=True); print(child.pid, flush=True); time.sleep(60)"
    )
    child = process.spawn(sys.executable, "-c", parent, capture=True)
    assert child.stdout is not None
    grandchild = int(await asyncio.to_thread(child.stdout.readline))
    assert is_alive(grandchild)
    child.signal(signal.SIGKILL)
    await child.wait()
    await wait_gone(grandchild)
    child.close()


def test_exits_are_described_in_words() -> None:
    assert process.describe_exit(2) == "ended with code 2"
    assert process.describe_exit(-9) == "ended by SIGKILL"
    assert process.describe_exit(-99) == "ended by signal 99"
