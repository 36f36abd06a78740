"""A pod without root: a real shim object over a fake machine and a fake agent, called through the task service."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kontinuum.foundation.clock import RealClock
from kontinuum.runtime import codec, disks, messages, oci
from kontinuum.runtime.backends import Backends
from kontinuum.runtime.guest.fake import FakeGuest
from kontinuum.runtime.guest.port import Dial, Guest
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.shim import Place, Shim
from kontinuum.runtime.task import service
from kontinuum.runtime.vmm.fake.backend import FakeVmm
from kontinuum.runtime.vmm.port import DISK_BYTES, Machine

M = TypeVar("M", bound=msgspec.Struct)
CRI = "io.kubernetes.cri."


@dataclass
class TestedPod:
    """What a test may do with the pod."""

    __test__ = False

    shim: Shim
    vmm: FakeVmm
    guest: FakeGuest
    directory: Path
    events: list[msgspec.Struct] = field(default_factory=list)
    rehearsed: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, request: msgspec.Struct, answer: type[M]) -> M:
        handle = service.handler(self.shim)
        return codec.decode(answer, await handle(service.SERVICE, method, codec.encode(request)))

    async def sandbox(self) -> None:
        self.bundle("sandbox", "sandbox")
        await self.create("sandbox")
        await self.start("sandbox")

    def bundle(self, id: str, kind: str = "container", *command: str, **spec: Any) -> Path:
        bundle = self.directory / "bundles" / id
        bundle.mkdir(parents=True)
        annotations = {CRI + "container-type": kind, CRI + "sandbox-id": "sandbox"}
        config = {"annotations": annotations, "process": {"args": list(command), "cwd": "/"}, "linux": {}, **spec}
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle

    def fifo(self, name: str) -> str:
        path = self.directory / name
        os.mkfifo(path)
        return str(path)

    async def create(self, id: str, **fields: Any) -> messages.CreateTaskResponse:
        request = messages.CreateTaskRequest(id=id, **{"bundle": str(self.directory / "bundles" / id), **fields})
        return await self.call("Create", request, messages.CreateTaskResponse)

    async def start(self, id: str, exec_id: str = "") -> messages.StartResponse:
        return await self.call("Start", messages.StartRequest(id, exec_id), messages.StartResponse)

    async def run(self, id: str, *command: str, **fields: Any) -> None:
        self.bundle(id, "container", *command)
        await self.create(id, **fields)
        await self.start(id)

    async def wait(self, id: str, exec_id: str = "") -> int:
        async with asyncio.timeout(60):
            answer = await self.call("Wait", messages.WaitRequest(id, exec_id), messages.WaitResponse)
        return answer.exit_status

    async def state(self, id: str, exec_id: str = "") -> messages.StateResponse:
        return await self.call("State", messages.StateRequest(id, exec_id), messages.StateResponse)

    async def stats(self, id: str) -> messages.Metrics:
        told = (await self.call("Stats", messages.StatsRequest(id), messages.StatsResponse)).stats
        assert told is not None
        return codec.decode(messages.Metrics, told.value)

    async def kill(self, id: str, number: int, exec_id: str = "") -> None:
        await self.call("Kill", messages.KillRequest(id, exec_id, number, False), messages.Empty)

    async def delete(self, id: str, exec_id: str = "") -> messages.DeleteResponse:
        return await self.call("Delete", messages.DeleteRequest(id, exec_id), messages.DeleteResponse)

    def heard(self, kind: type[M]) -> list[M]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def pod(
    directory: Path,
    *,
    vmm: Any = None,
    hangs: int = 0,
    cgroups: tuple[Path, ...] = (),
    full_disk_seconds: float = 60.0,
    events: Path | None = None,
) -> AsyncIterator[TestedPod]:
    """A pod whose machine is on its way up; of a ``FakeVmm``, the agents of the first ``hangs`` never answer.

    Events are kept in ``TestedPod.events``, unless containerd takes them at the socket ``events``.
    """
    vmm = vmm or FakeVmm()
    guest = FakeGuest(directory / "guest")

    async def connect(_dial: Dial) -> Guest:
        if hangs and len(vmm.machines) <= hangs:
            await asyncio.Event().wait()
        return guest

    async def image_for(mounts: tuple[Mount, ...]) -> Path:
        layers = (option for mount in mounts for option in mount.options if option.startswith(disks.LOWER))
        image = directory / f"{Path(next(layers, 'image')).name}.erofs"
        image.touch()
        os.truncate(image, DISK_BYTES)
        return image

    async def prepare() -> None: ...

    settings = RuntimeSettings(
        assets_dir="/nowhere",
        run_dir=str(directory),
        templates_dir="/nowhere",
        images_dir="/nowhere",
        drain_seconds=2.0,
        volume_refresh_seconds=0.01,
        # A busy host would take an agent that answers for one that does not, and try another machine.
        cold_agent_seconds=0.1 if hangs else 60.0,
        full_disk_seconds=full_disk_seconds,
    )

    async def rehearse(_machine: Machine, _guest: Guest) -> None:
        tested.rehearsed.set()

    backends = Backends(vmm=vmm, connect=connect, image_for=image_for, prepare=prepare, rehearse=rehearse)
    home = directory / "s"
    home.mkdir()
    place = Place("k8s.io", "sandbox", home, events or directory / "nobody-listens.sock", cgroups)
    described = oci.pod_of({"linux": {}}, "sandbox")
    shim = Shim(place, described, backends=backends, settings=settings, clock=RealClock())
    tested = TestedPod(shim, vmm, guest, directory)
    if events is None:
        shim._publisher.publish = tested.events.append  # type: ignore[method-assign]
    shim.begin()
    try:
        yield tested
    finally:
        await shim.end()
        await guest.close()
