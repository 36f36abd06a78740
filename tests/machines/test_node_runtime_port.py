"""containerd through our CRI client, held to the same claims as the fake that the quick tests trust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.machines import containerd
from tests.node.runtime_conformance import CLAIMS, UID, container_labels, identity

from kontinuum.node import cgroups
from kontinuum.node.cri import CriClient
from kontinuum.node.port import Config
from kontinuum.node.settings import NodeSettings

pytestmark = pytest.mark.machine

COMMANDS = {
    "lasting": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"],
    "failing": ["sh", "-c", "exit 3"],
    "absent": ["no-such-program"],
    "stubborn": ["sh", "-c", "trap '' TERM; echo deaf; while true; do sleep 0.1; done"],
}


class ContainerdSubject:
    def __init__(self, runtime: CriClient, settings: NodeSettings) -> None:
        self.runtime = runtime
        self._settings = settings
        self._logs = settings.data / "logs" / "conformance"

    def sandbox(self, attempt: int = 0) -> Config:
        metadata = {"name": "p", "uid": UID, "namespace": "default", "attempt": attempt}
        return {
            "metadata": metadata,
            "labels": identity(),
            "log_directory": str(self._logs),
            "linux": {"cgroup_parent": f"{self._settings.cgroup}/pod{UID}"},
        }

    def container(self, kind: str, attempt: int = 0) -> Config:
        return {
            "metadata": {"name": kind, "attempt": attempt},
            "labels": container_labels(kind),
            "image": {"image": "localhost/busybox:1"},
            "command": COMMANDS[kind],
            "log_path": f"{kind}.log",
            "linux": {},
        }

    async def wait_deaf(self, kind: str) -> None:
        log = self._logs / f"{kind}.log"
        async with asyncio.timeout(60):
            while not log.exists() or b"deaf" not in log.read_bytes():
                await asyncio.sleep(0.05)


@pytest.fixture
async def subject(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ContainerdSubject]:
    base = tmp_path_factory.mktemp("n")
    cidr = "10.206.0.0/24"
    settings = NodeSettings(data_dir=str(base / "d"), run_dir=str(base / "r"), pod_cidr=cidr, cluster_cidr=cidr)
    async with containerd.running(settings) as runtime:
        cgroups.create(f"{settings.cgroup}/pod{UID}", cgroups.PodLimits())
        yield ContainerdSubject(runtime, settings)


async def test_containerd_keeps_what_the_fake_keeps(subject: ContainerdSubject) -> None:
    for claim in CLAIMS:
        await claim(subject)
        observed = await subject.runtime.observe(UID)
        for sandbox in observed.sandboxes:
            await subject.runtime.stop_sandbox(sandbox.id)
            await subject.runtime.remove_sandbox(sandbox.id)
