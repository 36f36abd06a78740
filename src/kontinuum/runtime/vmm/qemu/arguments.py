"""QEMU's command line, as a pure function of the machine.

A template and its clones must have the same devices in the same order, or QEMU refuses the saved state; so there is one
list of devices, and what differs (memory's backing, how the machine comes up) is named in ``Birth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from kontinuum.runtime import layers
from kontinuum.runtime.jail.confine import Shown, libraries
from kontinuum.runtime.vmm.port import DISK_BYTES

FIRMWARE = "/usr/share/qemu"
OTHER_FIRMWARE = ("/usr/share/qboot", "/usr/share/seabios")
"""Where links in ``FIRMWARE`` lead, on distributions that keep it in packages of its own."""
KVM = "/dev/kvm"
KERNEL, INITRAMFS, MEMORY, LIBRARY = "/kernel", "/initramfs", "/memory", "/readonly.so"
"""Where QEMU sees them."""
MACHINE = "microvm,pit=off,pic=off,rtc=on,isa-serial=on,memory-backend=memory,mem-merge=off"
"""Not merged: how long a write takes to a page that was would tell a guest what another one has in its memory."""
AGENT_PORT = "agent"
"""Name of the virtio-serial port that the guest's agent opens."""
SLOTS = 3
"""Disks for images that are part of a machine. The ``microvm`` board has eight virtio transports: one each is the
serial bus, the network, the SCSI bus, the balloon and the first layer."""
LAYER = "layer0"
"""The disk that a machine is born with for its first container to write to; the agent has it mounted when it becomes a
template."""
BORN, NO_LAYER = "born", "nolayer"
"""The block nodes behind ``LAYER``: what it is born with, and what is there when its container has gone."""
BORN_FILES = 1
"""The set of open files with the image of ``BORN``."""
WhenFull = Literal["report", "enospc"]
TELL: WhenFull = "report"
"""What QEMU does when the host has no room for what is written to a disk: it tells the guest, and so whoever waits for
the end of a write. That is for volumes."""
STAND_STILL: WhenFull = "enospc"
"""It stops the machine (``Machine.wait_full``). That is for layers: hardly anybody waits for what is written there, and
a guest that is told loses it."""
SCSI = "scsi"
SCSI_DISKS = 32
"""How many disks may be plugged into a machine's SCSI bus. One takes the guest longer to see than a slot's: it is for
disks that are written to (a slot is read only for good), and for what finds no slot."""
ACCELERATORS = {"kvm": "kvm", "tcg": "tcg,tb-size=64"}
"""Beyond 64 MiB translated code is thrown away and made again. QEMU's own limit is 1 GiB: a busy pod would fill it."""
MAC = "02:00:00:00:00:01"
"""Every machine is born with it; the agent sets the pod's own, because clones cannot be born different."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What template and clone must have in common."""

    accelerator: Literal["kvm", "tcg"]
    memory_bytes: int
    cpus: int

    @property
    def kind(self) -> str:
        """All that a saved state depends on, as one text: it fits no machine of another kind."""
        words = [ACCELERATORS[self.accelerator], str(self.memory_bytes), str(self.cpus)]
        return " ".join([*words, MACHINE, kernel_command_line(self, tsc_khz=0), *_devices(Lines(0, 0, 0, 0))])


@dataclass(frozen=True, slots=True)
class Boot:
    """Come up from a kernel. ``memory`` is a file that keeps the guest's memory (for a template), or None."""

    kernel: Path
    initramfs: Path
    tsc_khz: int
    memory: Path | None = None


@dataclass(frozen=True, slots=True)
class Clone:
    """Come up from a template: its memory, copied on write; its state arrives by the monitor. ``library`` is the
    compiled ``jail/readonly.c``."""

    memory: Path
    library: Path


Birth = Boot | Clone


@dataclass(frozen=True, slots=True)
class Lines:
    """Descriptors that QEMU inherits: a tap, the listening sockets of the agent's port and of the monitor, and the
    image of the first layer."""

    tap: int
    agent: int
    monitor: int
    layer: int


def shown(hardware: Hardware, birth: Birth, *, program: Path) -> tuple[Shown, ...]:
    """All that QEMU sees of the host's files. Disks and a template's state are given to it as open files."""
    firmware = [FIRMWARE, *(path for path in OTHER_FIRMWARE if Path(path).exists())]
    seen = [*libraries(), Shown.same("run", program), *(Shown.same("read", path) for path in firmware)]
    if hardware.accelerator == "kvm":
        seen.append(Shown.same("device", KVM))
    match birth:
        case Boot(kernel=kernel, initramfs=initramfs, memory=memory):
            seen += [Shown("read", str(kernel), KERNEL), Shown("read", str(initramfs), INITRAMFS)]
            seen += [Shown("write", str(memory), MEMORY)] if memory is not None else []
        case Clone(memory=memory, library=library):
            seen += [Shown("read", str(memory), MEMORY), Shown("run", str(library), LIBRARY)]
            seen.append(Shown("set", "LD_PRELOAD", LIBRARY))
    return tuple(seen)


def command(hardware: Hardware, birth: Birth, lines: Lines, *, program: Path, name: str) -> list[str]:
    """The command line, as it is inside the jail. ``name`` is for people who look at the host's processes."""
    memory = hardware.memory_bytes >> 20
    words = [str(program), "-name", name.replace(",", ",,"), "-L", FIRMWARE]
    words += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    words += ["-machine", MACHINE]
    words += ["-accel", ACCELERATORS[hardware.accelerator], "-cpu", "host" if hardware.accelerator == "kvm" else "max"]
    words += ["-m", f"{memory}M", "-smp", str(hardware.cpus), "-object", _memory(birth, memory)]
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    words += ["-add-fd", f"fd={lines.layer},set={BORN_FILES},opaque=layer"]
    words += _devices(lines)
    words += [
        "-chardev",
        f"socket,id=monitor,fd={lines.monitor},server=on,wait=off",
        "-mon",
        "chardev=monitor,mode=control",
    ]
    match birth:
        case Boot():
            words += ["-kernel", KERNEL, "-initrd", INITRAMFS]
            words += ["-append", kernel_command_line(hardware, tsc_khz=birth.tsc_khz)]
        case Clone():
            words += ["-incoming", "defer"]
    return words


def kernel_command_line(hardware: Hardware, *, tsc_khz: int) -> str:
    """What the guest's kernel is told. Each word is there because leaving it out was measured to cost time or hang."""
    words = ["console=ttyS0", "quiet", "reboot=t", "panic=-1", "nokaslr", "mitigations=off", "audit=0", "lsm="]
    words += ["cryptomgr.notests", "random.trust_cpu=on"]
    # Sessions are grouped (autogroup) outside of control groups only, where no container is. A watchdog wakes a thread
    # to see that the kernel still schedules; the host sees that by the agent's answers.
    words += ["noautogroup", "nowatchdog"]
    if hardware.accelerator == "tcg":
        # Without a known TSC frequency the guest calibrates by timers that translation delays, and hangs at random.
        words += [f"tsc_early_khz={tsc_khz}", f"lpj={tsc_khz * 4}", "tsc=reliable", "no_timer_check"]
    return " ".join(words)


def block_node(files: int, *, name: str, read_only: bool) -> dict[str, Any]:
    """A raw image for the monitor's ``blockdev-add``; it was given to QEMU as the set of open files ``files``."""
    # QEMU does no locking: one image to be read serves many machines, and the others were locked before it got them.
    file = {"driver": "file", "filename": f"/dev/fdset/{files}", "locking": "off"}
    return {"driver": "raw", "node-name": name, "read-only": read_only, "discard": "unmap", "file": file}


def scsi_disk(target: int, *, node: str, when_full: WhenFull) -> dict[str, Any]:
    """A disk for the monitor's ``device_add``, which the guest finds under this target of its SCSI bus."""
    errors = {"werror": when_full, "rerror": "report"}
    return {"driver": "scsi-hd", "id": f"{SCSI}{target}", "bus": f"{SCSI}.0", "scsi-id": target, "drive": node} | errors


def blank_node(*, name: str) -> dict[str, Any]:
    """What an empty slot shows: all zeros, as long as any disk."""
    return {"driver": "null-co", "node-name": name, "size": DISK_BYTES, "read-zeroes": True, "read-only": True}


def _no_layer_node() -> dict[str, Any]:
    return {"driver": "null-co", "node-name": NO_LAYER, "size": layers.BYTES, "read-zeroes": True}


def _memory(birth: Birth, megabytes: int) -> str:
    match birth:
        case Boot(memory=None):
            return f"memory-backend-ram,id=memory,size={megabytes}M"
        case Boot():
            return f"memory-backend-file,id=memory,size={megabytes}M,mem-path={MEMORY},share=on"
        case Clone():
            return f"memory-backend-file,id=memory,size={megabytes}M,mem-path={MEMORY},share=off"


def _devices(lines: Lines) -> list[str]:
    words = ["-chardev", f"socket,id=agent,fd={lines.agent},server=on,wait=off", "-device", "virtio-serial-device"]
    words += ["-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"]
    # A ring in QEMU's own memory: a guest that babbles on its console cannot fill anything of the host's.
    words += ["-chardev", "ringbuf,id=console,size=16384", "-serial", "chardev:console"]
    words += ["-netdev", f"tap,id=network,fd={lines.tap},vhost=off"]
    # A clone is not a machine that has moved: it has nobody to tell where it is now, least of all before it knows.
    words += ["-device", f"virtio-net-device,netdev=network,mac={MAC},guest_announce=off"]
    words += ["-device", f"virtio-scsi-device,id={SCSI}"]
    # What the guest frees goes back to the host, some seconds later (see agent/main.c); the balloon itself stays empty.
    words += ["-device", "virtio-balloon-device,free-page-reporting=on"]
    for slot in range(SLOTS):
        words += ["-blockdev", orjson.dumps(blank_node(name=f"blank{slot}")).decode()]
        words += ["-device", f"virtio-blk-device,drive=blank{slot},id=slot{slot},serial=slot{slot}"]
    for node in (block_node(BORN_FILES, name=BORN, read_only=False), _no_layer_node()):
        words += ["-blockdev", orjson.dumps(node).decode()]
    return [*words, "-device", f"virtio-blk-device,drive={BORN},id={LAYER},serial={LAYER},werror={STAND_STILL}"]
