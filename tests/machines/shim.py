"""A containerd of a test's own with our shim behind the class ``microvm``, and pods made by plain CRI calls.

As a program, with the runtime's settings, it removes what a process of tests that was killed has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tests.lifetimes import afterwards, kill, told_of
from tests.machines import containerd

from kontinuum.node.cri import CriClient
from kontinuum.node.settings import NodeSettings
from kontinuum.runtime.settings import RuntimeSettings

CLIENT = Path(__file__).parents[2] / "src" / "kontinuum" / "runtime" / "client" / "client.c"
ASSETS = Path(os.environ.get("KONTINUUM_ASSETS_DIR", Path(__file__).parents[2] / "build" / "assets"))
IMAGE = "localhost/busybox:1"
NAME = f"kontinuum-shimtest-{os.getpid()}"
CGROUP_PARENT = f"/{NAME}"
_READY_SECONDS = 90.0


@dataclass
class Pod:
    """A sandbox and the way to its containers."""

    host: Host
    id: str
    config: dict[str, Any]

    async def create(self, name: str, *command: str, **fields: Any) -> str:
        config = {
            "metadata": {"name": name, "attempt": 0},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}.log",
            "linux": {"resources": fields.pop("resources", {}), "security_context": {"namespace_options": {"pid": 1}}},
            **fields,
        }
        return await self.host.cri.create_container(self.id, config, self.config)

    async def run(self, name: str, *command: str, **fields: Any) -> str:
        container = await self.create(name, *command, **fields)
        await self.host.cri.start_container(container)
        return container

    async def status(self, container: str) -> Any:
        return (await self.host.cri.call("ContainerStatus", container_id=container)).status

    async def exited(self, container: str, *, seconds: float = 30.0) -> Any:
        """The container's status once it has exited."""
        async with asyncio.timeout(seconds):
            while (status := await self.status(container)).state != 2:
                await asyncio.sleep(0.02)
        return status

    def log(self, name: str) -> list[str]:
        """What a container has written, without the CRI's time stamps."""
        path = Path(self.config["log_directory"]) / f"{name}.log"
        return [line.split(" ", 3)[3] for line in path.read_text().splitlines()] if path.exists() else []

    async def remove(self) -> None:
        await self.host.cri.stop_sandbox(self.id)
        await self.host.cri.remove_sandbox(self.id)


@dataclass
class Host:
    """containerd, the warm parent, and what they were told."""

    cri: CriClient
    node: NodeSettings
    runtime: RuntimeSettings
    config: Path
    parents: list[subprocess.Popen[bytes]]
    """The warm parents that were started by us, the latest last."""

    async def pod(self, name: str, **linux: Any) -> Pod:
        logs = self.node.data / "logs" / "pods" / name
        logs.mkdir(parents=True, exist_ok=True)
        config = {
            "metadata": {"name": name, "uid": f"{name}-uid", "namespace": "default", "attempt": 0},
            "hostname": name,
            "log_directory": str(logs),
            "linux": {"cgroup_parent": f"{CGROUP_PARENT}/{name}", **linux},
        }
        return Pod(self, await self.cri.run_sandbox(config, "microvm"), config)

    def shims(self) -> list[int]:
        """Processes of living shims of this host."""
        return [pid for pid in self.processes() if _name_of(pid) == "kontinuum-shim"]

    def processes(self) -> list[int]:
        """Every process of the runtime: parents, shims, makers of templates."""
        return list(told_of(self.config))

    def machines(self) -> list[int]:
        """Processes of QEMU that run pods of this host: started for one, or taken by one while they waited.

        Those keep the name on their command line under which they were made; their directory is the pod's by then.
        """
        warm = self.runtime.warm
        waiting = [entry.name.partition("-")[2] for entry in warm.iterdir()] if warm.is_dir() else []
        taken = [pid for pid, line in told_of(warm).items() if not any(name in line for name in waiting)]
        return [*told_of(self.runtime.sandboxes), *taken]

    def start_parent(self) -> None:
        self.parents.append(_start_parent(self.config))


@contextlib.asynccontextmanager
async def host(directory: Path, **settings: Any) -> AsyncIterator[Host]:
    """Everything up; at the end everything down. Nothing waits for pods unless ``settings`` of the runtime say so."""
    assets = directory / "assets"
    (assets / "bin").mkdir(parents=True)
    for name in ("guest", "rehearsal"):
        (assets / name).symlink_to(ASSETS / name)
    target = assets / "bin" / "containerd-shim-kontinuum-v1"
    subprocess.run(["musl-gcc", "-static", "-Os", "-Wall", "-Wextra", "-Werror", CLIENT, "-o", target], check=True)
    for name in ("kontinuum-jail", "readonly.so"):
        (assets / "bin" / name).symlink_to(ASSETS / "bin" / name)
    run = Path("/run/kontinuum") / f"shimtest-{os.getpid()}"
    templates = Path("/dev/shm") / NAME
    runtime = RuntimeSettings(
        assets_dir=str(assets),
        run_dir=str(run),
        templates_dir=str(templates),
        images_dir=str(directory / "images"),
        log_file=str(directory / "shim.log"),
        accelerator="tcg",
        **{"warm_machines": 0, **settings},
    )
    config = directory / "runtime.json"
    config.write_bytes(msgspec.json.encode(runtime))
    node = NodeSettings(
        data_dir=str(directory / "data"),
        run_dir=str(run),
        pod_cidr="10.207.0.0/24",
        cluster_cidr="10.207.0.0/16",
        interface="knshimtest",
        runtime_config=str(config),
        assets_dir=str(assets),
    )
    run.mkdir(parents=True, exist_ok=True)
    containerd.enter_private_mounts()
    with afterwards(sys.executable, "-m", __name__, config):
        parents = [_start_parent(config)]
        try:
            async with containerd.running(node) as cri:
                await wait_until(lambda: has_template(templates), seconds=_READY_SECONDS)
                yield Host(cri, node, runtime, config, parents)
        finally:
            for parent in parents:
                parent.terminate()
                parent.wait()
            await _remove(config, runtime)


def has_template(templates: Path) -> bool:
    """Whether there is a whole one, and none is being made: until then it lies in a directory with another name."""
    made = [state.parent.suffix for state in templates.glob("*/state")]
    return bool(made) and not any(made)


async def _remove(config: Path, runtime: RuntimeSettings) -> None:
    """Also whoever was left, by a test that failed or by a client that started a parent."""
    kill(*told_of(config))
    await wait_until(lambda: not told_of(config))
    for directory in (runtime.templates_dir, runtime.run_dir):
        shutil.rmtree(directory, ignore_errors=True)
    # The pods' own groups: making and removing those is the kubelet's part, which is ours here.
    for parent in Path("/sys/fs/cgroup").glob(f"*/{Path(runtime.templates_dir).name}"):
        for group in (*parent.iterdir(), parent):
            if group.is_dir():
                group.rmdir()


async def _remove_all(config: Path) -> None:
    """As at the end of ``host``, once what belongs to containerd is gone."""
    runtime = msgspec.json.decode(config.read_bytes(), type=RuntimeSettings)
    with contextlib.suppress(AssertionError):
        await wait_until(lambda: not told_of(Path(runtime.run_dir) / "containerd"), seconds=60)
    await _remove(config, runtime)


async def wait_until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.02)


def _start_parent(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "kontinuum.runtime.parent", "--config", config])


def _name_of(pid: int) -> str:
    """What a process calls itself; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    asyncio.run(_remove_all(Path(sys.argv[1])))
