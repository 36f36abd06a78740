"""Which VMM, which way to its agent, which maker of block images: chosen once per process, from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.runtime import disks
from kontinuum.runtime.guest import connection
from kontinuum.runtime.guest.port import Dial, Guest
from kontinuum.runtime.jail import confine
from kontinuum.runtime.jail.confine import Jail
from kontinuum.runtime.jail.users import Users
from kontinuum.runtime.layers import Layers
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.settings import RuntimeSettings
from kontinuum.runtime.vmm import accelerator, choice
from kontinuum.runtime.vmm.accelerator import Accelerator
from kontinuum.runtime.vmm.cloning import CloningVmm
from kontinuum.runtime.vmm.port import Machine, Vmm
from kontinuum.runtime.warm import rehearsal
from kontinuum.runtime.warm.rehearsal import Perform

log = structlog.get_logger(__name__)

REHEARSAL = "rehearsal"
"""Of the assets, the one file of the container with which a machine rehearses."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What a sandbox is made with."""

    vmm: Vmm
    connect: Callable[[Dial], Awaitable[Guest]]
    """The agent of a machine, once it answers. Raises GuestLost."""
    image_for: Callable[[tuple[Mount, ...]], Awaitable[Path]]
    """The block image of a root file system that containerd describes by its mounts."""
    prepare: Callable[[], Awaitable[None]]
    """Make the templates that will be wanted: the default size, and sizes that were missed so far. Idempotent."""
    rehearse: Perform
    """Have a machine do once what its pod's first container will have it do; see ``warm.rehearsal``."""
    file_system: str = disks.FILE_SYSTEM
    """What is on those images."""


async def choose(settings: RuntimeSettings, clock: Clock) -> Backends:
    """The backends of this host. Raises VmmMissing with what to install."""
    found = Accelerator(settings.accelerator, "configured") if settings.accelerator else await accelerator.probe()
    chosen = choice.choose(settings, found)
    log.info("took the VMM", vmm=chosen.name, reason=chosen.reason)
    assets = Path(settings.assets_dir)
    vmm = await _finder(chosen.name, settings)(
        guest=assets / "guest",
        templates=Path(settings.templates_dir),
        accelerator=found,
        agent_ready=connection.wait_ready,
        clock=clock,
        jail=Jail(assets / "bin" / confine.PROGRAM, Users(settings.users, settings.user_range)),
        layers=Layers(Path(settings.images_dir) / "layers"),
        patience=settings.template_patience_seconds,
    )

    async def prepare() -> None:
        await vmm.prepare(memory_bytes=settings.default_memory_bytes, cpus=1)
        await vmm.prepare_wanted()

    image_for = partial(disks.image_for, cache=Path(settings.images_dir))

    async def rehearse(machine: Machine, guest: Guest) -> None:
        image = await image_for((Mount(type="bind", source=str(assets / REHEARSAL)),))
        await rehearsal.perform(machine, guest, image=image, file_system=disks.FILE_SYSTEM)

    return Backends(vmm=vmm, connect=connection.connect, image_for=image_for, prepare=prepare, rehearse=rehearse)


def _finder(name: choice.Name, settings: RuntimeSettings) -> Callable[..., Awaitable[CloningVmm[Any, Any]]]:
    # Imported here: whoever has the one should not pay for what the other speaks, an HTTP client's eleven megabytes.
    if name == "firecracker":
        from kontinuum.runtime.vmm.firecracker.backend import find as find_firecracker

        return partial(
            find_firecracker,
            disk_bytes_per_second=settings.machine_disk_bytes_per_second,
            network_bytes_per_second=settings.machine_network_bytes_per_second,
        )
    from kontinuum.runtime.vmm.qemu.backend import find as find_qemu

    return find_qemu
