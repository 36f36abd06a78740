"""The runtime on a containerd of somebody else's: installed, used through the CRI alone, taken out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.lifetimes import BOUND, afterwards, told_of
from tests.machines.containerd import administrators, busybox_archive, enter_private_mounts, pause_archive
from tests.machines.networks import own_network
from tests.machines.platform import KONTINUUM
from tests.machines.shim import ASSETS

from kontinuum.foundation.clock import RealClock
from kontinuum.images.archives import Wish, import_archive
from kontinuum.images.layers import Limits
from kontinuum.images.manifests import Platform
from kontinuum.images.services import Containerd
from kontinuum.node.cri import CriClient
from kontinuum.node.port import RuntimeFailed

pytestmark = pytest.mark.machine


def configured(directory: Path, version: int) -> Path:
    """Somebody's configuration; the file of it that the handler will go to."""
    main = directory / "config.toml"
    if version == 2:
        main.write_text(administrators(directory, state=directory / "state", socket=directory / "c.sock"))
        return main
    main.write_text(f"""version = 3
root = "{directory}/root"
state = "{directory}/state"
imports = ["{directory}/conf.d/*.toml"]

[grpc]
  address = "{directory}/c.sock"
""")
    (directory / "conf.d").mkdir()
    imported = directory / "conf.d/pods.toml"
    imported.write_text(f"""version = 3

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause:1'

[plugins.'io.containerd.cri.v1.runtime']  # keep!
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = '{directory}/cni'
""")
    return imported


def newest_version() -> int:
    """Of the configurations that the containerd of this host reads: 3 from 2.0 on."""
    said = subprocess.run(["containerd", "config", "default"], check=True, capture_output=True, text=True).stdout
    return int(tomllib.loads(said)["version"])


def network(directory: Path) -> str:
    ranges = [[{"subnet": own_network()}]]
    ipam = {"type": "host-local", "dataDir": f"{directory}/leases", "ranges": ranges}
    return json.dumps({"cniVersion": "0.4.0", "name": "theirs", "plugins": [{"type": "ptp", "ipam": ipam}]})


@contextlib.asynccontextmanager
async def containerd(directory: Path) -> AsyncIterator[CriClient]:
    log = (directory / "log").open("ab")
    process = await asyncio.create_subprocess_exec(
        *BOUND,
        "containerd",
        "--config",
        directory / "config.toml",
        stdout=log,
        stderr=log,
        env={**os.environ, "PATH": f"{directory}/bin:{os.environ['PATH']}"},
    )
    log.close()
    try:
        async with CriClient(directory / "c.sock") as cri:
            async with asyncio.timeout(30):
                while not await cri.is_ready():
                    await asyncio.sleep(0.02)
            yield cri
    finally:
        process.terminate()
        await process.wait()


def kontinuum(*arguments: str) -> str:
    return subprocess.run([KONTINUUM, "runtime", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("version", [2, 3])
async def test_a_pod_of_our_handler_runs_on_any_containerd(tmp_path: Path, version: int) -> None:
    if version > newest_version():
        pytest.skip("this host's containerd does not know that version of its configuration yet")
    enter_private_mounts()
    theirs, ours = tmp_path / "containerd", tmp_path / "opt"
    run = Path("/run/kontinuum") / f"installed-{os.getpid()}"
    (theirs / "cni").mkdir(parents=True)
    target = configured(theirs, version)
    before = target.read_text()
    (theirs / "cni/10.conflist").write_text(network(theirs))
    options = [
        "--containerd-config", f"{theirs}/config.toml", "--bin-dir", f"{theirs}/bin", "--directory", str(ours),
        "--run-dir", str(run), "--assets", str(ASSETS), "--accelerator", "tcg", "--no-systemd", "--handler", "machine",
    ]  # fmt: skip
    assert "+  runtime_type" in kontinuum("install", *options, "--dry-run")
    assert target.read_text() == before and not ours.exists()
    kontinuum("install", *options)
    uninstall = ("uninstall", "--directory", str(ours), "--force")
    with afterwards(KONTINUUM, "runtime", *uninstall):
        try:
            async with containerd(theirs) as cri:
                async with Containerd(theirs / "c.sock", RealClock()) as store:
                    for archive in (pause_archive(tmp_path / "images"), busybox_archive(tmp_path / "images")):
                        with archive.open("rb") as file:
                            await import_archive(store, file, Wish(Platform.here()), Limits(), lambda *_: None)
                kernels = [await kernel_of_a_pod(cri, tmp_path, handler) for handler in ("machine", "")]
                assert kernels[1] == os.uname().release != kernels[0]
                with pytest.raises(RuntimeFailed, match="hostNetwork is not offered by microVMs"):
                    await kernel_of_a_pod(cri, tmp_path, "machine", named="host", namespace_options={"network": 2})
        finally:
            said = kontinuum(*uninstall)
    assert str(target) in said
    assert target.read_text() == before
    assert not ours.exists() and not run.exists()
    async with asyncio.timeout(20):
        while left := told_of(ours / "runtime.json"):
            await asyncio.sleep(0.05)
    assert not left


async def kernel_of_a_pod(cri: CriClient, directory: Path, handler: str, *, named: str = "", **security: Any) -> str:
    name = named or handler or "plain"
    group = f"/kontinuum-installed-{os.getpid()}"
    sandbox = {
        "metadata": {"name": name, "uid": f"{name}-uid", "namespace": "default", "attempt": 0},
        "hostname": name, "log_directory": str(directory / name),
        "linux": {"cgroup_parent": f"{group}/{name}", "security_context": security},
    }  # fmt: skip
    (directory / name).mkdir()
    container = {
        "metadata": {"name": "c", "attempt": 0}, "image": {"image": "localhost/busybox:1"}, "log_path": "c.log",
        "command": ["sh", "-c", "uname -r; sleep 1000"], "linux": {},
    }  # fmt: skip
    made = await cri.run_sandbox(sandbox, handler)
    try:
        started = await cri.create_container(made, container, sandbox)
        await cri.start_container(started)
        done = await cri.execute(started, ["uname", "-r"], 60)
        return done.stdout.decode().strip()
    finally:
        await cri.stop_sandbox(made)
        await cri.remove_sandbox(made)
        for parent in Path("/sys/fs/cgroup").glob(f"*{group}"):
            for place in (*parent.iterdir(), parent):
                if place.is_dir():
                    place.rmdir()
