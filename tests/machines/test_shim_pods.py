"""Pods of the class ``microvm`` through a real containerd: what a user of Kubernetes sees of our shim."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import orjson
import pytest
import pytest_asyncio
from tests.machines import shim
from tests.machines.shim import Host, Pod, wait_until

from kontinuum.foundation import process, tallies
from kontinuum.runtime import codec, messages, records
from kontinuum.runtime.records import SandboxRecord
from kontinuum.runtime.settings import STARTS
from kontinuum.runtime.task import service
from kontinuum.runtime.ttrpc import Caller

pytestmark = [pytest.mark.machine, pytest.mark.asyncio(loop_scope="module")]

SLEEP = ("sleep", "1000")
MAKING_SECONDS = 240
"""A machine that is to wait is made when nobody starts a pod, and gives way to everybody."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    # One waits for each test's first pod, so that what is said here of pods is said of such machines.
    async with shim.host(tmp_path_factory.mktemp("shim"), warm_machines=1) as running:
        yield running


async def test_a_container_runs_under_its_own_kernel_and_its_exit_code_and_last_words_are_reported(host: Host) -> None:
    pod = await host.pod("words")
    script = "uname -r; hostname; id -u; echo problem >&2; seq 1 3000; echo last; exit 7"
    container = await pod.run("c", "sh", "-c", script)
    status = await pod.exited(container)
    lines = pod.log("c")
    assert status.exit_code == 7
    assert lines[0] != os.uname().release
    assert "problem" in lines
    assert lines[-1] == "last"
    assert len(lines) == 3005
    await pod.remove()


async def test_exec_reports_output_exit_code_and_a_missing_command_as_runc_does(host: Host) -> None:
    pod = await host.pod("exec")
    container = await pod.run("c", *SLEEP)
    done = await host.cri.execute(container, ["sh", "-c", "echo out; echo err >&2; exit 5"], 10)
    assert (done.exit_code, done.stdout, done.stderr) == (5, b"out\n", b"err\n")
    with pytest.raises(Exception, match=r'exec: "nope": executable file not found in \$PATH'):
        await host.cri.execute(container, ["nope"], 10)
    with pytest.raises(Exception, match=r'exec: "nope": executable file not found in \$PATH'):
        await pod.run("wrong", "nope")
    await pod.remove()


async def test_a_container_that_ignores_term_is_killed_after_its_grace(host: Host) -> None:
    pod = await host.pod("stubborn")
    polite = await pod.run("polite", "sh", "-c", "trap 'exit 3' TERM; echo on; while :; do sleep 0.1; done")
    stubborn = await pod.run("stubborn", "sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done")
    # A shell that has only been started does with the signal what any program does.
    await wait_until(lambda: pod.log("polite") == pod.log("stubborn") == ["on"])
    await host.cri.stop_container(polite, 5)
    await host.cri.stop_container(stubborn, 1)
    assert (await pod.status(polite)).exit_code == 3
    assert (await pod.status(stubborn)).exit_code == 137
    await pod.remove()


async def test_a_container_beyond_its_memory_limit_is_oomkilled(host: Host) -> None:
    pod = await host.pod("hungry")
    limit = {"memory_limit_in_bytes": 16 << 20}
    container = await pod.run("c", "sh", "-c", "tail /dev/zero", resources=limit)
    status = await pod.exited(container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    await pod.remove()


async def test_containers_of_a_pod_share_address_and_writable_volume(host: Host, tmp_path: Path) -> None:
    pod = await host.pod("pair")
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = [{"container_path": "/shared", "host_path": str(shared)}]
    serve = "echo over there > /shared/index.html; httpd -f -p 8080 -h /shared"
    await pod.run("server", "sh", "-c", serve, mounts=mounts)
    fetch = "until wget -q -O - http://localhost:8080/; do sleep 0.1; done; cat /shared/index.html"
    client = await pod.run("client", "sh", "-c", fetch, mounts=mounts)
    assert (await pod.exited(client)).exit_code == 0
    assert pod.log("client")[-2:] == ["over there", "over there"]
    await pod.remove()


async def test_what_a_container_leaves_in_its_termination_log_is_on_the_host_when_its_end_is_told(
    host: Host, tmp_path: Path
) -> None:
    pod = await host.pod("last-words")
    word = tmp_path / "termination-log"
    word.touch()
    mounts = [{"container_path": "/dev/termination-log", "host_path": str(word)}]
    container = await pod.run("c", "sh", "-c", "echo out of luck > /dev/termination-log; exit 3", mounts=mounts)
    assert (await pod.exited(container)).exit_code == 3
    assert word.read_text() == "out of luck\n"
    await pod.remove()


async def test_a_read_only_volume_follows_its_host_directory(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "config"
    (source / "..1").mkdir(parents=True)
    (source / "..1" / "key").write_text("old")
    (source / "..data").symlink_to("..1")
    (source / "key").symlink_to("..data/key")
    pod = await host.pod("fresh")
    mounts = [{"container_path": "/config", "host_path": str(source), "readonly": True}]
    container = await pod.run("c", *SLEEP, mounts=mounts)
    assert (await host.cri.execute(container, ["cat", "/config/key"], 10)).stdout == b"old"
    assert (await host.cri.execute(container, ["touch", "/config/mine"], 10)).exit_code != 0
    (source / "..2").mkdir()
    (source / "..2" / "key").write_text("new")
    (source / "..new").symlink_to("..2")
    (source / "..new").rename(source / "..data")
    async with asyncio.timeout(20):
        while (await host.cri.execute(container, ["cat", "/config/key"], 10)).stdout != b"new":
            await asyncio.sleep(0.2)
    await pod.remove()


async def test_the_host_reaches_the_pods_address(host: Host) -> None:
    pod = await host.pod("served")
    await pod.run("c", "sh", "-c", "cd /tmp; echo hello > index.html; httpd -f -p 8080")
    status = (await host.cri.call("PodSandboxStatus", pod_sandbox_id=pod.id)).status

    async def fetch() -> bytes:
        async with asyncio.timeout(10):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(status.network.ip, 8080)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
                    continue
                writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer

    assert (await fetch()).endswith(b"hello\n")
    await pod.remove()


async def test_what_a_container_uses_can_be_asked(host: Host) -> None:
    pod = await host.pod("measured")
    container = await pod.run("c", "sh", "-c", "i=0; while :; do i=$((i+1)); done")
    caller = await Caller.connect(records.directory_of(host.runtime.sandboxes, "k8s.io", pod.id) / "shim.sock")
    async with asyncio.timeout(60):
        while _nanoseconds(used := await _used(caller, container)) <= 10_000_000:
            await asyncio.sleep(0.1)
    caller.close()
    assert used.memory is not None and used.pids is not None
    assert used.memory.usage is not None and used.memory.usage.usage > 0
    assert used.pids.current == 1
    await pod.remove()


async def _used(caller: Caller, container: str) -> messages.Metrics:
    payload = await caller.call(service.SERVICE, "Stats", codec.encode(messages.StatsRequest(container)))
    answer = codec.decode(messages.StatsResponse, payload).stats
    assert answer is not None
    return codec.decode(messages.Metrics, answer.value)


def _nanoseconds(used: messages.Metrics) -> int:
    assert used.cpu is not None and used.cpu.usage is not None
    return used.cpu.usage.total


async def test_a_removed_pod_leaves_nothing(host: Host) -> None:
    pod = await host.pod("gone")
    await pod.run("c", *SLEEP)
    assert len(host.shims()) == 1
    assert len(host.machines()) == 1
    await pod.remove()
    await wait_until(lambda: not host.shims() and not host.machines())
    assert list(host.runtime.sandboxes.iterdir()) == []
    assert [path for path in Path("/sys/fs/cgroup").glob(f"*{shim.CGROUP_PARENT}/gone/*") if path.is_dir()] == []


async def test_an_exec_with_a_terminal_has_its_size_and_ends_its_lines_as_terminals_do(
    host: Host, tmp_path: Path
) -> None:
    pod = await host.pod("terminal")
    container = await pod.run("c", *SLEEP)
    stdin, stdout = tmp_path / "in", tmp_path / "out"
    os.mkfifo(stdin)
    os.mkfifo(stdout)
    reader = os.open(stdout, os.O_RDWR | os.O_NONBLOCK)
    caller = await Caller.connect(records.directory_of(host.runtime.sandboxes, "k8s.io", pod.id) / "shim.sock")

    async def call(method: str, request: msgspec.Struct) -> bytes:
        return await caller.call(service.SERVICE, method, codec.encode(request))

    described = {"args": ["sh"], "cwd": "/", "env": ["PATH=/bin"], "terminal": True}
    spec = messages.Any("", orjson.dumps(described))
    await call("Exec", messages.ExecProcessRequest(container, "e", True, str(stdin), str(stdout), "", spec))
    await call("Start", messages.StartRequest(container, "e"))
    await call("ResizePty", messages.ResizePtyRequest(container, "e", width=91, height=33))
    with stdin.open("w") as writer:
        writer.write("stty size; exit 6\n")
    seen = b""
    async with asyncio.timeout(10):
        while b"33 91\r\n" not in seen:
            await asyncio.sleep(0.02)
            with contextlib.suppress(BlockingIOError):
                seen += os.read(reader, 4096)
    draining = asyncio.create_task(drain(reader))
    answer = codec.decode(messages.WaitResponse, await call("Wait", messages.WaitRequest(container, "e")))
    draining.cancel()
    assert answer.exit_status == 6
    caller.close()
    os.close(reader)
    await pod.remove()


async def drain(descriptor: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 4096)
        await asyncio.sleep(0.01)


async def test_containerd_alone_may_run_a_container_without_kubernetes(host: Host) -> None:
    words = ["ctr", "--address", host.node.socket, "--namespace", "k8s.io", "run", "--rm"]
    words += [
        "--runtime",
        "io.containerd.kontinuum.v1",
        "localhost/busybox:1",
        "lonely",
        "sh",
        "-c",
        "uname -r; exit 3",
    ]
    done = await process.run(*words, check=False, timeout=60)
    assert (done.code, done.text != os.uname().release) == (3, True), done
    await wait_until(lambda: not host.shims() and not host.machines())


def waiting(host: Host) -> list[SandboxRecord]:
    """Of machines that wait for a pod: their shims-to-be, and the VMMs."""
    found = (records.read(path) for path in host.runtime.warm.glob("ready-*"))
    return [record for record in found if record is not None]


async def warm_pod(host: Host, name: str) -> tuple[Pod, SandboxRecord, list[str]]:
    """A pod from the machine that waited, and what its container says of itself."""
    await wait_until(lambda: len(waiting(host)) == 1, seconds=MAKING_SECONDS)
    [record] = waiting(host)
    pod = await host.pod(name)
    itself = "hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1; date +%s"
    await pod.exited(await pod.run("c", "sh", "-c", f"{itself}; ip addr; ip route; ps; ls / /tmp"))
    return pod, record, pod.log("c")


async def test_a_machine_that_waited_is_its_pods_alone_and_has_nothing_of_its_rehearsal(host: Host) -> None:
    before = tallies.read(host.runtime.tallies(STARTS)).get("warm", 0)
    first, of_first, said = await warm_pod(host, "first")
    second, of_second, said_then = await warm_pod(host, "second")
    assert tallies.read(host.runtime.tallies(STARTS))["warm"] == before + 2
    assert (said[0], said_then[0]) == ("first", "second")
    assert said[1] != said_then[1], "the boot's id"
    assert said[2] != said_then[2], "randomness"
    assert 0 <= int(said_then[3]) - int(said[3]) < 600
    assert abs(int(said_then[3]) - time.time()) < 600, "the clock stood still while the machine waited"
    for pod, text in ((first, "\n".join(said)), (second, "\n".join(said_then))):
        status = (await host.cri.call("PodSandboxStatus", pod_sandbox_id=pod.id)).status
        assert status.network.ip in text
        assert "192.0.2." not in text
        assert "rehears" not in text
    machines = [record.processes[1].pid for record in (of_first, of_second)]
    assert len({Path(f"/proc/{pid}").stat().st_uid for pid in machines}) == 2
    for name, record in (("first", of_first), ("second", of_second)):
        for process_record in record.processes:
            groups = Path(f"/proc/{process_record.pid}/cgroup").read_text()
            assert groups.count(f"{shim.CGROUP_PARENT}/{name}/") >= 1, groups
            threads = Path(f"/proc/{process_record.pid}/task").iterdir()
            assert {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads} == {0}
    await first.remove()
    await second.remove()


async def test_machines_that_wait_go_with_their_maker_and_one_that_is_killed_costs_no_pod(host: Host) -> None:
    await wait_until(lambda: len(waiting(host)) == 1, seconds=MAKING_SECONDS)
    [killed] = waiting(host)
    os.kill(killed.processes[0].pid, signal.SIGKILL)
    pod = await host.pod("unlucky")
    await pod.run("c", *SLEEP)
    await pod.remove()
    await wait_until(lambda: len(waiting(host)) == 1 and waiting(host) != [killed], seconds=MAKING_SECONDS)
    [old] = waiting(host)
    host.start_parent()
    await wait_until(lambda: len(waiting(host)) == 1 and waiting(host) != [old], seconds=MAKING_SECONDS)
    for record in (killed, old):
        for one in record.processes:
            await wait_until(lambda one=one: records.process_record(one.pid) != one)  # type: ignore[misc]
    assert len(list(host.runtime.warm.iterdir())) == 1
