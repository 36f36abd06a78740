"""What Firecracker is told of a machine, as pure functions; paths are those that it sees inside its jail.

The paths, the tap's name and the order of the devices are the same for every machine. A saved state remembers them, so
that a clone finds its own disks, tap and socket where its template had others, and nothing need be told anew.

Sources: Firecracker's swagger file for names and bounds; its ``docs/vsock.md``, ``docs/api_requests/patch-block.md``
and ``docs/snapshotting``; ``IRQ_BASE`` to ``IRQ_MAX`` (5-23) in its x86 layout for the number of devices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontinuum.runtime import taps
from kontinuum.runtime.jail.confine import Shown
from kontinuum.runtime.vmm.firecracker.api import Request
from kontinuum.runtime.vmm.port import DISK_BYTES

KVM, TUN = "/dev/kvm", "/dev/net/tun"
PROGRAM, KERNEL, INITRAMFS, MEMORY, STATE = "/firecracker", "/kernel", "/initramfs", "/memory", "/state"
OWN = "/own"
"""The one directory that Firecracker may make names in: those of its two sockets."""
API_SOCKET, AGENT_SOCKET = f"{OWN}/api.sock", f"{OWN}/agent.sock"
GUEST_CID = 3
"""Each machine is alone on its vsock."""
AGENT_PORT = 1024
MAC = "02:00:00:00:00:01"
"""Every machine is born with it; the agent sets the pod's own, because clones cannot be born different."""
DEVICES = 19
"""Interrupts, and so devices, of one machine."""
READERS, WRITERS = 7, 8
"""Disks of a machine, for images, and for volumes and layers: all there from the start, because Firecracker plugs none
in. With the network, the vsock, the balloon and the source of entropy that makes all ``DEVICES``."""
BLANK_WRITER_BYTES = 4096
"""An empty disk to write to. An image has another size: by that the agent knows that the guest has seen the change."""
BUCKET_MILLISECONDS = 100
OLDEST = (1, 8)
"""Describes its devices by ACPI, which is all that a distribution's kernel looks at."""
FREE_PAGE_REPORTING = (1, 14)
"""Before this version what a guest frees stays with its machine."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What template and clone must have in common."""

    memory_bytes: int
    cpus: int
    version: tuple[int, ...]
    """Firecracker's."""
    disk_bytes_per_second: int = 0
    """Of each disk; 0: no limit."""
    network_bytes_per_second: int = 0
    """In each direction; 0: no limit."""

    @property
    def kind(self) -> str:
        """All that a saved state depends on, as one text: it fits no machine of another kind."""
        return " ".join(f"{request} {request.body}" for request in configuration(self))


@dataclass(frozen=True, slots=True)
class Drive:
    """One of a machine's disks."""

    name: str
    """What the guest's kernel calls it: by the order in which disks are declared."""
    read_only: bool

    @property
    def path(self) -> str:
        """Where Firecracker sees what is in it."""
        return f"/disks/{self.name}"

    def slot(self, size: int) -> str:
        """How the agent finds it, once it has ``size`` bytes."""
        return f"{self.name}@{size // 512 * 512}"


DRIVES = tuple(Drive(f"vd{chr(ord('a') + number)}", number < READERS) for number in range(READERS + WRITERS))


def configuration(hardware: Hardware) -> list[Request]:
    """Everything but the start of a machine that boots."""
    size = {"vcpu_count": hardware.cpus, "mem_size_mib": hardware.memory_bytes >> 20, "smt": False}
    boot = {"kernel_image_path": KERNEL, "initrd_path": INITRAMFS, "boot_args": kernel_command_line()}
    requests = [_put("/machine-config", size), _put("/boot-source", boot)]
    disks = _limited("rate_limiter", bytes_per_second=hardware.disk_bytes_per_second)
    requests += [_put(f"/drives/{drive.name}", _drive(drive) | disks) for drive in DRIVES]
    network: dict[str, Any] = {"iface_id": "eth0", "host_dev_name": taps.NAME, "guest_mac": MAC}
    for direction in ("rx_rate_limiter", "tx_rate_limiter"):
        network |= _limited(direction, bytes_per_second=hardware.network_bytes_per_second)
    requests.append(_put("/network-interfaces/eth0", network))
    requests.append(_put("/vsock", {"guest_cid": GUEST_CID, "uds_path": AGENT_SOCKET}))
    balloon: dict[str, Any] = {"amount_mib": 0, "deflate_on_oom": True}
    if hardware.version >= FREE_PAGE_REPORTING:
        balloon["free_page_reporting"] = True
    return [*requests, _put("/balloon", balloon), _put("/entropy", {})]


def start() -> Request:
    return _put("/actions", {"action_type": "InstanceStart"})


def pause() -> Request:
    return Request("PATCH", "/vm", {"state": "Paused"})


def resume() -> Request:
    return Request("PATCH", "/vm", {"state": "Resumed"})


def save() -> Request:
    """Of a paused machine, into files that are there already."""
    return _put("/snapshot/create", {"snapshot_type": "Full", "snapshot_path": STATE, "mem_file_path": MEMORY})


def load() -> Request:
    """Instead of a configuration, and of a start."""
    memory = {"backend_type": "File", "backend_path": MEMORY}
    return _put("/snapshot/load", {"snapshot_path": STATE, "mem_backend": memory, "resume_vm": True})


def look_again(drive: Drive) -> Request:
    """What is at the drive's path is another file now."""
    return Request("PATCH", f"/drives/{drive.name}", {"drive_id": drive.name, "path_on_host": drive.path})


def kernel_command_line() -> str:
    """What the guest's kernel is told. ``reboot=k``: the one way of ending that Firecracker has."""
    words = ["console=ttyS0", "quiet", "reboot=k", "panic=-1", "pci=off", "i8042.noaux"]
    words += ["i8042.nomux", "i8042.dumbkbd", "nokaslr", "mitigations=off", "audit=0", "lsm=", "cryptomgr.notests"]
    return " ".join([*words, "random.trust_cpu=on", f"kontinuum_agent=vsock:{AGENT_PORT}"])


def command(*, id: str) -> list[str]:
    """The command line, as it is inside the jail. ``id`` is for people who look at the host's processes."""
    named = re.sub(r"[^A-Za-z0-9-]", "-", id)[-64:].strip("-") or "machine"
    return [PROGRAM, "--api-sock", API_SOCKET, "--id", named]


@dataclass(frozen=True, slots=True)
class Files:
    """Where on the host what Firecracker sees is."""

    program: Path
    kernel: Path
    initramfs: Path


def shown(files: Files, *, network: int, template: tuple[Path, Path] | None, saving: bool) -> tuple[Shown, ...]:
    """All that Firecracker sees of the host. ``network`` is a descriptor of the namespace with its tap; ``template`` is
    memory and state, to be written by who is ``saving`` them, to be read by a clone."""
    # A release is one static file; a distribution's may be linked with its libraries, which are nobody's secret.
    seen = [Shown("run", str(files.program), PROGRAM), Shown("device", KVM, KVM), Shown("device", TUN, TUN)]
    seen += [Shown("own", "-", OWN), Shown("network", str(network), "-")]
    seen += [Shown("read", str(files.kernel), KERNEL), Shown("read", str(files.initramfs), INITRAMFS)]
    for drive in DRIVES:
        seen.append(Shown("blank", str(DISK_BYTES if drive.read_only else BLANK_WRITER_BYTES), drive.path))
    if template is not None:
        for path, target in zip(template, (MEMORY, STATE), strict=True):
            seen.append(Shown("write" if saving else "read", str(path), target))
    return tuple(seen)


def version_of(text: str) -> tuple[int, ...]:
    """``(1, 14, 0)`` for ``Firecracker v1.14.0``, the first line of ``--version``; () for anything else."""
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _drive(drive: Drive) -> dict[str, Any]:
    # What a guest has flushed must be on the host's disk: "Unsafe" would only say so.
    cache = "Unsafe" if drive.read_only else "Writeback"
    return {
        "drive_id": drive.name,
        "path_on_host": drive.path,
        "is_root_device": False,
        "is_read_only": drive.read_only,
        "cache_type": cache,
        "io_engine": "Sync",
    }


def _limited(name: str, *, bytes_per_second: int) -> dict[str, Any]:
    """A tenth of a second's worth at a time: what saved itself up must not be a flood."""
    if not bytes_per_second:
        return {}
    bucket = {"size": max(1, bytes_per_second * BUCKET_MILLISECONDS // 1000), "refill_time": BUCKET_MILLISECONDS}
    return {name: {"bandwidth": bucket}}


def _put(path: str, body: dict[str, Any]) -> Request:
    return Request("PUT", path, body)
