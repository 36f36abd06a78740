"""What is left outside the directories of an installation."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.lifetimes import BOUND

from kontinuum.cli import leftovers
from kontinuum.node.settings import NodeSettings


def test_a_shim_that_containerd_has_lost_is_killed_and_nobody_else_s(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "containerd.sock", tmp_path / "other" / "containerd.sock"
    shims = [
        subprocess.Popen([*BOUND, "sh", "-c", "read nothing", "shim", *words], stdin=subprocess.PIPE)
        for words in (("-id", "a", "-address", mine), ("-id", "b", "-address", theirs), ("-id", "-address", "c", mine))
    ]
    try:
        assert leftovers.kill_lost_shims(mine) == [shims[0].pid]
        assert shims[0].wait(30) == -signal.SIGKILL
        assert [shim.poll() for shim in shims[1:]] == [None, None]
        assert leftovers.kill_lost_shims(mine) == []
    finally:
        for shim in shims:
            shim.kill()
            shim.communicate()


def test_what_is_left_in_a_pods_cgroup_is_killed_and_nobody_else(tmp_path: Path) -> None:
    lost, other = [subprocess.Popen([*BOUND, "sh", "-c", "read nothing"], stdin=subprocess.PIPE) for _ in range(2)]
    for hierarchy, cgroup, pid in (("memory", "kontinuum/ours/kubepods/pod1/c", lost.pid),
                                   ("pids", "kontinuum/ours/kubepods/pod1/c", lost.pid),
                                   ("memory", "kontinuum/theirs/kubepods/pod2", other.pid)):  # fmt: skip
        directory = tmp_path / hierarchy / cgroup
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(f"{pid}\n")
    try:
        assert leftovers.kill_lost_processes("/kontinuum/ours", tmp_path, seconds=0.05) == 1
        assert lost.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        assert leftovers.kill_lost_processes("/kontinuum/nobody", tmp_path) == 0
    finally:
        for one in (lost, other):
            one.kill()
            one.communicate()


def test_logs_of_our_pods_go_and_those_of_others_stay(tmp_path: Path) -> None:
    settings = NodeSettings(data_dir=str(tmp_path / "data"), pod_logs_dir=str(tmp_path / "log" / "pods"))
    (settings.data / "pods" / "ours").mkdir(parents=True)
    settings.container_logs.mkdir(parents=True)
    for uid in ("ours", "theirs"):
        log = settings.pod_logs / f"default_p_{uid}" / "app" / "0.log"
        log.parent.mkdir(parents=True)
        log.touch()
        (settings.container_logs / f"p_default_app-{uid}.log").symlink_to(log)
    leftovers.remove_logs(settings)
    assert [path.name for path in settings.pod_logs.iterdir()] == ["default_p_theirs"]
    assert [path.name for path in settings.container_logs.iterdir()] == ["p_default_app-theirs.log"]


def test_a_data_directory_that_is_a_disk_of_its_own_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(directory: Path) -> None:
        (directory / "inside").unlink()
        raise OSError(errno.EBUSY, "Device or resource busy", str(directory))

    (tmp_path / "inside").touch()
    (tmp_path / "other").mkdir()
    leftovers.remove_directory(tmp_path / "other")
    leftovers.remove_directory(tmp_path / "absent")
    assert not (tmp_path / "other").exists()
    monkeypatch.setattr(shutil, "rmtree", busy)
    leftovers.remove_directory(tmp_path)
    (tmp_path / "inside").touch()
    (tmp_path / "more").touch()
    with pytest.raises(OSError, match="busy"):
        leftovers.remove_directory(tmp_path)
