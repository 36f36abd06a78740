"""What a sandbox leaves in writing, and who may be killed by it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kontinuum.runtime import cgroups, launch, records
from kontinuum.runtime.answer import SOCKET, delete
from kontinuum.runtime.launch import Launch
from kontinuum.runtime.records import ProcessRecord, SandboxRecord
from kontinuum.runtime.settings import RuntimeSettings


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
    bundle.mkdir(parents=True)
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
    answer = delete(asked(tmp_path, "s", sandbox=directory), settings(tmp_path))
    assert answer.exit_status == 137
    assert process.wait(timeout=30) == -9
    assert not directory.exists()


def test_delete_of_a_container_never_touches_the_sandbox_it_lived_in(tmp_path: Path) -> None:
    process, record = sleeper()
    directory = sandbox(tmp_path, "s", record)
    delete(asked(tmp_path, "c", sandbox=directory), settings(tmp_path))
    assert process.poll() is None
    assert records.read(directory) == SandboxRecord("s", (record,))
    process.kill()
    process.wait()


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
