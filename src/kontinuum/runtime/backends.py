"""Which VMM, which way to its agent, which maker of block images: chosen once per process, from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from kontinuum.runtime.guest.port import Guest
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.vmm.port import Vmm


@dataclass(frozen=True, slots=True)
class Backends:
    """What a sandbox is made with."""

    vmm: Vmm
    connect: Callable[[Path], Awaitable[Guest]]
    """The agent behind a machine's socket, once it answers. Raises GuestLost."""
    image_for: Callable[[tuple[Mount, ...]], Awaitable[Path]]
    """The block image of a root file system that containerd describes by its mounts."""
    file_system: str = "erofs"
    """What is on those images."""
