"""What a machine does before it has something to do: all that a pod's start needs, once, with a container of our own.

Machines rehearse that wait for a pod (``standby``), and those whose pod waits for its image (``sandbox``). Translation
makes the first time dear (TCG: a tenth of a second each for network, root file system and process) and the second
cheap, and it cannot be kept in a template. Nothing that a container could see is left of the rehearsal.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from kontinuum.foundation.errors import Broken
from kontinuum.runtime.guest.port import ContainerSpec, Guest, Identity, Interface, Mount, ProcessSpec
from kontinuum.runtime.vmm.port import Machine
from kontinuum.runtime.volumes import GUEST_HOME, empty_directory

NAME = "rehearsal"
PROGRAM = "/rehearse"
VOLUME = f"{GUEST_HOME}/{NAME}"
ETHERNET = Interface(
    name="eth0",
    mac="02:00:00:00:00:01",
    mtu=1500,
    addresses=("192.0.2.2/24",),
    routes=(("192.0.2.0/24", ""), ("0.0.0.0/0", "192.0.2.1")),
)
"""Addresses for documentation (RFC 5737), on a card whose other end leads nowhere."""
MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/volume", "bind", VOLUME, ("rbind", "rprivate", "ro")),
    Mount("/proc/kcore", "masked", "none"),
    Mount("/sys/firmware", "masked", "none"),
    Mount("/proc/sys", "readonly", "none"),
)
"""What containerd gives every container, and a volume."""
_CAPABILITIES = 0xA80425FB
"""Those of a container that asks for none."""


Perform = Callable[[Machine, Guest], Awaitable[None]]


class RehearsalFailed(Broken):
    """The rehearsed process did not end well; the message has its last words."""


async def rehearse(machine: Machine, guest: Guest, perform: Perform) -> None:
    """As a machine that is nobody's yet: with a network, too, which is taken back; it is told anew who it is
    (``identify``) when it is somebody's. Raises what ``perform`` raises."""
    await guest.identify(
        Identity(NAME, time.time(), secrets.token_bytes(64), secrets.token_hex(16), interfaces=(ETHERNET,))
    )
    await perform(machine, guest)
    await guest.forget()


async def perform(machine: Machine, guest: Guest, *, image: Path, file_system: str) -> None:
    """Run ``PROGRAM`` of the disk ``image`` in a container, beside whatever else runs, and take the container away.

    Raises RehearsalFailed, GuestLost, GuestRefused, MachineRefused, MachineNotStarted.
    """
    slot = await machine.attach_disk(image, read_only=True)
    await guest.write_tree(VOLUME, empty_directory(mode=0o755))
    await guest.add_container(
        ContainerSpec(
            NAME,
            slot,
            file_system,
            MOUNTS,
            memory_limit_bytes=64 << 20,
            cpu_quota_microseconds=100_000,
            layer=machine.born_layer,
        )
    )
    process = await guest.start_process(
        ProcessSpec(NAME, NAME, (PROGRAM,), ("PATH=/bin",), "/", capabilities=_CAPABILITIES)
    )
    output, errors = await asyncio.gather(_all(process.stdout()), _all(process.stderr()))
    ended = await process.wait()
    if ended.status != 0 or not output:
        raise RehearsalFailed(f"the rehearsal ended with status {ended.status}: {errors.decode(errors='replace')}")
    await guest.remove_container(NAME, layer=machine.born_layer, keep_layer=True)
    await machine.detach_disk(slot)


async def _all(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
