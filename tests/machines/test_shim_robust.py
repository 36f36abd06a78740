"""What happens to microVM pods when the parts around them are killed, and what dozens of them leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.machines import containerd, shim
from tests.machines.platform import wires
from tests.machines.shim import Host, Pod, wait_until

from kontinuum.node.port import RuntimeFailed, RuntimeTimedOut
from kontinuum.runtime import layers, records

pytestmark = [pytest.mark.machine, pytest.mark.asyncio(loop_scope="module")]

NOT_READY = 1
EXITED = 2
CYCLES = 30
EXECS, AT_ONCE = 20, 5
FLOOD_BYTES = 8 << 20
PAGE = 4096
UNDEFINED = b"\x0f\x0b"
"""An instruction that no processor has."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    async with shim.host(tmp_path_factory.mktemp("shim")) as running:
        yield running


async def sandbox_state(host: Host, pod: Pod) -> int:
    state: int = (await host.cri.call("PodSandboxStatus", pod_sandbox_id=pod.id)).status.state
    return state


async def wait_not_ready(host: Host, pod: Pod) -> None:
    async with asyncio.timeout(20):
        while await sandbox_state(host, pod) != NOT_READY:
            await asyncio.sleep(0.05)


async def test_a_killed_machine_is_reported_and_its_siblings_live(host: Host) -> None:
    lives, dies = await host.pod("lives"), await host.pod("dies")
    kept = await lives.run("c", "sleep", "1000")
    lost = await dies.run("c", "sleep", "1000")
    [victim] = [pid for pid in host.machines() if is_machine_of(dies, pid)]
    os.kill(victim, signal.SIGKILL)
    assert (await dies.exited(lost)).exit_code == 137
    await wait_not_ready(host, dies)
    assert (await host.cri.execute(kept, ["echo", "here"], 10)).stdout == b"here\n"
    await dies.remove()
    await lives.remove()
    await wait_until(lambda: not host.shims() and not host.machines())


def is_machine_of(pod: Pod, pid: int) -> bool:
    """Whether the process is the machine of this pod."""
    directory = records.directory_of(pod.host.runtime.sandboxes, "k8s.io", pod.id)
    return str(directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_killed_shim_takes_its_machine_with_it_and_is_reported(host: Host) -> None:
    pod = await host.pod("orphan")
    container = await pod.run("c", "sleep", "1000")
    [victim] = host.shims()
    os.kill(victim, signal.SIGKILL)
    status = await pod.exited(container)
    assert status.exit_code in (137, 255)
    await wait_not_ready(host, pod)
    await wait_until(lambda: not host.machines())
    await pod.remove()
    assert list(host.runtime.sandboxes.iterdir()) == []
    assert [path for path in Path("/sys/fs/cgroup").glob(f"*{shim.CGROUP_PARENT}/orphan/*") if path.is_dir()] == []


async def test_a_pod_does_not_notice_that_containerd_is_killed_and_started_again(host: Host) -> None:
    pod = await host.pod("steady")
    container = await pod.run("c", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done")
    brief = await pod.run("brief", "sh", "-c", "sleep 1; exit 9")
    await wait_until(lambda: len(pod.log("c")) > 5)
    process = containerd.PROCESSES[str(host.node.socket)]
    process.kill()
    await process.wait()
    await asyncio.sleep(1.5)
    await containerd.start(host.node)
    assert (await pod.exited(brief)).exit_code == 9
    seen = len(pod.log("c"))
    await wait_until(lambda: len(pod.log("c")) > seen + 5)
    numbers = [int(line) for line in pod.log("c")]
    assert numbers == list(range(len(numbers)))
    assert (await host.cri.execute(container, ["echo", "here"], 10)).stdout == b"here\n"
    await pod.remove()


async def test_a_pod_starts_and_ends_without_the_warm_parent_that_made_the_others(host: Host) -> None:
    old = await host.pod("old")
    host.parents[-1].kill()
    host.parents[-1].wait()
    new = await host.pod("new")
    container = await new.run("c", "sh", "-c", "exit 4")
    assert (await new.exited(container)).exit_code == 4
    await old.remove()
    await new.remove()
    # The one that a client started makes room for the one that is supervised.
    host.start_parent()
    lock = host.runtime.socket.with_name("shim.sock.lock")
    await wait_until(lambda: f'"pid":{host.parents[-1].pid},' in lock.read_text())
    await wait_until(lambda: len(parents_of(host)) == 1)


def parents_of(host: Host) -> list[int]:
    """Processes that are this host's warm parent."""
    return [pid for pid in host.processes() if Path(f"/proc/{pid}/comm").read_text().strip() == "kontinuum-warm"]


async def test_a_flood_of_output_and_many_execs_at_once_lose_nothing_and_leave_nothing_in_the_shim(host: Host) -> None:
    pod = await host.pod("busy")
    container = await pod.run("c", "sleep", "1000")
    [process] = host.shims()
    await host.cri.execute(container, ["true"], 30)
    before = len(list(Path(f"/proc/{process}/fd").iterdir()))
    line = "x" * 1023
    flood = await pod.run("flood", "sh", "-c", f"yes {line} | head -c {FLOOD_BYTES}; echo end >&2")
    several = asyncio.Semaphore(AT_ONCE)

    async def say(number: int) -> bytes:
        async with several:
            answer: bytes = (await host.cri.execute(container, ["echo", str(number)], 60)).stdout
            return answer

    answers = await asyncio.gather(*(say(number) for number in range(EXECS)))
    assert answers == [f"{number}\n".encode() for number in range(EXECS)]
    assert (await pod.exited(flood, seconds=120)).exit_code == 0
    lines = pod.log("flood")
    assert lines.count(line) == FLOOD_BYTES // 1024
    assert set(lines) == {line, "end"}
    await host.cri.call("RemoveContainer", container_id=flood)
    await wait_until(lambda: len(list(Path(f"/proc/{process}/fd").iterdir())) == before)
    await pod.remove()


async def test_a_full_disk_is_told_and_over_when_there_is_room_again(host: Host) -> None:
    pod = await host.pod("no-room")
    images = host.runtime.images_dir
    Path(images).mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", images], check=True)
    try:
        container = await pod.create("c", "sleep", "1000")
        with pytest.raises(RuntimeFailed, match="No space left on device"):
            await host.cri.start_container(container)
    finally:
        subprocess.run(["umount", "--lazy", images], check=True)
    await pod.run("again", "sleep", "1000")
    await pod.remove()


async def test_an_agent_that_dies_ends_its_machine_and_a_spoilt_template_costs_no_pod(host: Host) -> None:
    """No process of a guest can kill its agent. What a machine has not written it reads in its template, though: who
    spoils the agent's program there kills it."""
    pod = await host.pod("headless")
    container = await pod.run("c", "sleep", "1000")
    [memory] = Path(host.runtime.templates_dir).glob("*/memory")
    spoil_agent(memory)
    with contextlib.suppress(RuntimeFailed, RuntimeTimedOut):
        await host.cri.execute(container, ["true"], 30)
    assert (await pod.exited(container, seconds=240)).exit_code == 137
    await wait_not_ready(host, pod)
    await pod.remove()
    await wait_until(lambda: not host.shims() and not host.machines())
    assert list(host.runtime.sandboxes.iterdir()) == []
    following = await host.pod("following")
    assert (await following.exited(await following.run("c", "sh", "-c", "exit 4"))).exit_code == 4
    await following.remove()
    [discarded] = (memory.parent.parent / "discarded").iterdir()
    assert (discarded.name, discarded.read_text()) == (
        memory.parent.name,
        "its files are not what they were when it was finished",
    )
    await wait_until(lambda: shim.has_template(Path(host.runtime.templates_dir)), seconds=240)


def spoil_agent(memory: Path) -> None:
    """Write over the agent's program wherever it lies in the memory of a machine."""
    agent = (shim.ASSETS / "guest" / "agent").read_bytes()
    pages = {agent[at : at + PAGE] for at in range(PAGE, len(agent) - PAGE, PAGE)}
    with memory.open("r+b", buffering=0) as file:
        for at in range(0, memory.stat().st_size, PAGE):
            page = os.pread(file.fileno(), PAGE, at)
            if page in pages and any(page):
                os.pwrite(file.fileno(), UNDEFINED * (PAGE // len(UNDEFINED)), at)


async def frozen_pod(host: Host, name: str) -> tuple[Pod, str]:
    """A pod with one container, whose machine runs no more and has not ended either."""
    pod = await host.pod(name)
    container = await pod.run("c", "sleep", "1000")
    [machine] = [pid for pid in host.machines() if is_machine_of(pod, pid)]
    os.kill(machine, signal.SIGSTOP)
    return pod, container


@pytest.mark.long
async def test_a_machine_that_stands_still_is_removed_like_any_other(host: Host) -> None:
    pod, container = await frozen_pod(host, "frozen")
    with pytest.raises(RuntimeTimedOut):
        await host.cri.execute(container, ["true"], 1)
    await host.cri.stop_container(container, 1)
    assert (await pod.status(container)).exit_code == 137
    await pod.remove()
    await wait_until(lambda: not host.shims() and not host.machines())


@pytest.mark.long
async def test_a_machine_that_stands_still_is_missed_without_being_asked_to_end(host: Host) -> None:
    """Its clock is asked for now and then, and an answer is waited for no longer than two minutes."""
    pod, container = await frozen_pod(host, "missed")
    assert (await pod.exited(container, seconds=400)).exit_code == 137
    await wait_not_ready(host, pod)
    await pod.remove()
    await wait_until(lambda: not host.shims() and not host.machines())


async def test_dozens_of_pods_leave_nothing(host: Host) -> None:
    # The sizes that pods have asked for are remembered.
    await (await host.pod("first")).remove()
    await wait_until(lambda: not host.shims() and not host.machines())
    before = leftovers(host)
    for number in range(CYCLES):
        pod = await host.pod(f"cycle-{number}")
        await pod.run("c", "sleep", "1000")
        await pod.remove()
    await wait_until(lambda: not host.shims() and not host.machines())
    assert leftovers(host) == before


def leftovers(host: Host) -> dict[str, list[str]]:
    """Everything a pod could leave on a host, by kind."""
    cgroups = Path("/sys/fs/cgroup").glob(f"*{shim.CGROUP_PARENT}/*/*")
    return {
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if host.runtime.run_dir in line],
        "sandboxes": [str(path) for path in host.runtime.sandboxes.iterdir()],
        "shared memory": sorted(str(path) for path in Path(host.runtime.templates_dir).rglob("*")),
        "layers": sorted(str(path) for path in Path(host.runtime.images_dir).glob("layers/*")),
        "snapshots": sorted(str(path) for path in host.node.imagefs.glob(f"*/snapshots/*/fs/{layers.NAME}")),
        "cgroups": [str(path) for path in cgroups if path.is_dir()],
        "veths": sorted(wires(host.node.pod_cidr)),
    }
