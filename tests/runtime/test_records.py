"""What a sandbox leaves in writing, and who may be killed by it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.runtime.pod import TestedPod, pod

from kontinuum.foundation import sockets
from kontinuum.runtime import answer, cgroups, launch, records
from kontinuum.runtime.answer import SOCKET, delete
from kontinuum.runtime.launch import Launch
from kontinuum.runtime.records import ProcessRecord, SandboxRecord
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.task import service
from kontinuum.runtime.ttrpc import ServerConnection


def sleeper() -> tuple[subprocess.Popen[bytes], ProcessRecord]:
    process = subprocess.Popen(["sleep", "1000"])
    record = records.process_record(process.pid)
    assert record is not None
    return process, record


def sandbox(home: Path, name: str, *processes: ProcessRecord) -> Path:
    directory = records.directory_of(home / "vm", "k8s.io", name)
    directory.mkdir(parents=True)
    records.write(directory, SandboxRecord(name, processes))
    return directory


def asked(home: Path, id: str, *, sandbox: Path | None) -> Launch:
    bundle = home / "bundles" / id
    bundle.mkdir(parents=True, exist_ok=True)
    if sandbox is not None:
        launch.write_address(bundle, f"unix://{sandbox / SOCKET}")
    return Launch("delete", "k8s.io", id, bundle, Path("/e"), None)


def settings(home: Path) -> RuntimeSettings:
    return RuntimeSettings(assets_dir="/", run_dir=str(home), templates_dir="/", images_dir="/")


def test_taking_apart_kills_the_recorded_processes_and_removes_the_directory_twice_over(tmp_path: Path) -> None:
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", record)
    records.take_apart(directory)
    assert process.wait(timeout=30) == -9
    assert not directory.exists()
    records.take_apart(directory)


def test_a_process_that_only_has_the_same_number_is_left_alone(tmp_path: Path) -> None:
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", ProcessRecord(record.pid, record.started - 1))
    records.take_apart(directory)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_delete_of_a_sandbox_ends_what_its_dead_shim_left(tmp_path: Path) -> None:
    process, record = sleeper()
    dead_shim = ProcessRecord(2**22 + 1, 1)
    directory = sandbox(tmp_path, "s", dead_shim, record)
    assert delete(asked(tmp_path, "s", sandbox=directory), settings(tmp_path)).exit_status == 137
    assert process.wait(timeout=30) == -9
    assert not directory.exists()


def test_delete_of_a_container_ends_what_its_dead_shim_left_of_a_sandbox_that_was_deleted_before(
    tmp_path: Path,
) -> None:
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", ProcessRecord(2**22 + 1, 1), record)
    delete(asked(tmp_path, "c", sandbox=directory), settings(tmp_path))
    assert process.wait(timeout=30) == -9
    assert not directory.exists()


def test_delete_of_a_container_never_touches_the_living_sandbox_it_lived_in(tmp_path: Path) -> None:
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", record)
    delete(asked(tmp_path, "c", sandbox=directory), settings(tmp_path))
    assert process.poll() is None
    assert records.read(directory) == SandboxRecord("s", (record,))
    process.kill()
    process.wait()


@asynccontextmanager
async def listening(tested: TestedPod) -> AsyncIterator[Path]:
    """The pod's shim, called through its socket as containerd calls it; its directory."""
    directory, handle = tested.shim.place.directory, service.handler(tested.shim)
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: ServerConnection(handle), str(directory / SOCKET)
    )
    try:
        yield directory
    finally:
        server.close()


async def test_delete_of_a_lost_sandbox_leaves_its_shim_the_time_to_tell_how_the_containers_ended(
    tmp_path: Path,
) -> None:
    """containerd deletes it first; a shim that is killed then takes with it what the containers died of."""
    async with pod(tmp_path) as tested, listening(tested) as directory:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        os.kill(tested.vmm.machines[0].pid, signal.SIGKILL)
        await tested.wait("sandbox")
        await tested.delete("sandbox")
        request = asked(tmp_path, "sandbox", sandbox=directory)
        await asyncio.to_thread(delete, request, settings(tmp_path))
        assert records.read(directory) is not None
        assert not tested.shim.finished.is_set()
        assert await tested.wait("c") == 137
        await tested.delete("c")
        # Nothing is left to it now, and it may not have heard of that.
        await asyncio.to_thread(delete, request, settings(tmp_path))
        assert tested.shim.finished.is_set()


async def test_delete_of_a_sandbox_that_containerd_has_lost_ends_it_although_it_lives(tmp_path: Path) -> None:
    async with pod(tmp_path) as tested, listening(tested) as directory:
        await tested.sandbox()
        await tested.run("c", "sleep", "1000")
        await asyncio.to_thread(delete, asked(tmp_path, "sandbox", sandbox=directory), settings(tmp_path))
        assert not directory.exists()
        assert await tested.wait("sandbox") == 137


def test_delete_of_a_sandbox_ends_a_shim_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_SAYING_SECONDS", 0.01)
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", record)
    with sockets.listen_unix(directory / SOCKET):
        delete(asked(tmp_path, "s", sandbox=directory), settings(tmp_path))
    assert process.wait(timeout=30) == -9
    assert not directory.exists()


def test_delete_of_what_never_began_or_is_gone_succeeds(tmp_path: Path) -> None:
    assert delete(asked(tmp_path, "s", sandbox=None), settings(tmp_path)).exit_status == 137
    gone = records.directory_of(tmp_path / "vm", "k8s.io", "t")
    assert delete(asked(tmp_path, "t", sandbox=gone), settings(tmp_path)).exit_status == 137


def test_a_sandboxs_directory_leaves_room_for_sockets() -> None:
    directory = records.directory_of(Path("/run/kontinuum/0123abcd/vm"), "k8s.io", "f" * 64)
    assert len(str(directory / "monitor-or-agent.sock")) < 100


VERSION1 = """cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0
"""


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (VERSION1, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"]),
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n", ["/sys/fs/cgroup"]),
        ("proc /proc proc rw 0 0\n", []),
    ],
)
def test_hierarchies_that_count_are_found_in_either_version(mounts: str, expected: list[str]) -> None:
    assert [str(path) for path in cgroups.hierarchies(mounts)] == expected
