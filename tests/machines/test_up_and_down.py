"""One command brings a machine up, keeps it up, and takes all of it away again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kubectls import newest_kubectl
from tests.lifetimes import told_of
from tests.machines.platform import CLASSES, Platform, pod, wait_until
from tests.ports import free_port

from kontinuum.cli.installation import Installation
from kontinuum.node.settings import NodeSettings

pytestmark = pytest.mark.machine
PARTS = ["server", "controllers", "containerd", "node", "network", "shim-parent"]


class OwnPlatform(Platform):
    """A platform that tests may take down and bring up as they like."""

    def up_again(self) -> None:
        networks = {"node": {"pod_cidr": "10.213.0.0/24"}, "server": {"service_cidrs": "10.214.0.0/24"}}
        self.up(listen=LISTEN, runtime={"warm_machines": 1}, **networks)

    def processes(self) -> list[str]:
        """The command lines of everything on this host that names this installation."""
        paths = Installation.at(self.data_dir)
        return list(told_of(paths.run, paths.data).values())


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPlatform]:
    platform = OwnPlatform(tmp_path_factory.mktemp("up") / "data")
    with platform.removed_at_the_end():
        platform.up_again()
        yield platform


LISTEN = f"127.0.0.1:{free_port()}"


def test_up_returns_when_everything_is_ready_and_says_what_runs(own: OwnPlatform) -> None:
    assert own.kubectl("get", "nodes", "--output", "name").stdout.startswith("node/")
    status = own.status()
    assert status["ready"] is True
    assert [part["name"] for part in status["parts"]] == PARTS
    for part in status["parts"]:
        assert (part["state"], part["restarts"]) == ("ready", 0), part
        assert part["memoryBytes"] > 1 << 20
    server = status["parts"][0]
    assert status["address"] == f"https://{LISTEN}"
    assert server["ports"] == [int(LISTEN.partition(":")[2])]
    assert own.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert own.kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_up_again_is_no_error(own: OwnPlatform) -> None:
    before = own.state().pid
    own.up_again()
    assert own.state().pid == before


def test_the_api_refuses_strangers(own: OwnPlatform) -> None:
    stranger = ["--server", f"https://{LISTEN}", "--insecure-skip-tls-verify", "--kubeconfig", os.devnull]
    command = [str(newest_kubectl()), *stranger, "--token", "wrong", "get", "nodes"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "must be logged in" in done.stderr


def test_pods_outlive_a_killed_supervisor_and_the_next_one_takes_them_over(own: OwnPlatform) -> None:
    own.apply(*(pod(f"outlives-{one}", one) for one in CLASSES))
    for one in CLASSES:
        own.wait_running(f"outlives-{one}")
    os.kill(own.state().pid, signal.SIGKILL)
    wait_until("nothing to run", lambda: own.kontinuum("status", check=False).returncode == 3)
    own.up_again()
    for one in CLASSES:
        own.wait_running(f"outlives-{one}")
        status = own.get("pod", f"outlives-{one}")["status"]["containerStatuses"][0]
        assert status["restartCount"] == 0, one
        assert own.kubectl("exec", f"outlives-{one}", "--", "echo", "alive").stdout == "alive\n"


def test_down_leaves_the_data_and_nothing_else_and_up_starts_the_same_pods(own: OwnPlatform) -> None:
    uids = {one: own.get("pod", f"outlives-{one}")["metadata"]["uid"] for one in CLASSES}
    own.kontinuum("down")
    wait_until("no process", lambda: not own.processes(), seconds=10)
    cgroup = NodeSettings(data_dir=str(own.data_dir)).cgroup
    assert not [one for one in Path("/sys/fs/cgroup").glob(f"*{cgroup}") if list(one.rglob("cgroup.procs"))[1:]]
    assert own.kontinuum("status", check=False).returncode == 3
    own.up_again()
    for one, uid in uids.items():
        assert own.wait_running(f"outlives-{one}")["metadata"]["uid"] == uid


def test_doctor_tells_what_the_classes_can_here(own: OwnPlatform) -> None:
    answer = json.loads(own.kontinuum("doctor", "--output", "json", check=False).stdout)
    can = {finding["feature"]: finding["can"] for finding in answer}
    assert can["class container"] == can["class sandbox"] == "yes"
    accelerated = own.state().accelerator == "kvm"
    assert can["class microvm"] == can["hardware virtualization"] == ("yes" if accelerated else "slowly")


def test_reset_removes_everything_after_pods_were_left_behind(own: OwnPlatform) -> None:
    own.kontinuum("down", "--leave-pods")
    assert any("containerd-shim-runc" in line for line in own.processes())
    own.kontinuum("reset", "--yes")
    wait_until("no process", lambda: not own.processes(), seconds=10)
    paths, node = Installation.at(own.data_dir), NodeSettings(data_dir=str(own.data_dir))
    left = [path for path in (paths.data, paths.run, paths.templates) if path.exists()]
    left += list(Path("/sys/fs/cgroup").glob(f"*{node.cgroup}"))
    left += [path for path in [Path("/sys/class/net") / node.interface_name] if path.exists()]
    assert left == []
