"""What this host can do, found out by trying: one finding per class and feature.

A check looks at what will really be used (a program, a loop run under KVM, a socket), never at a version or at the
mere existence of a device.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from kontinuum.cli.settings import Settings
from kontinuum.foundation import process
from kontinuum.foundation.addresses import AddressTaken, try_listen
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node import containerd
from kontinuum.node.filter_sample import sample
from kontinuum.runtime.vmm.accelerator import probe

Can = Literal["yes", "slowly", "no"]
ASSETS = "make assets"
CONTROLLERS = ("cpu", "memory", "pids")
UNSHARE = ("unshare", "--mount", "--propagation", "slave", "mount", "--make-rshared", "/")
TUNNEL = ("unshare", "--net", "ip", "link", "add", "k0", "type", "vxlan", "id", "1", "dstport", "4789")
SMALLEST_MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one feature."""

    feature: str
    can: Can
    evidence: str
    """How it was found out."""
    advice: str = ""
    """What to install or change; empty if nothing."""
    needed: bool = True
    """Whether a class that is offered here depends on it."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything at once; takes as long as the slowest look, about three seconds at most."""
    ground = await asyncio.gather(
        _rights(),
        _namespaces(),
        _cgroups(),
        _memory(),
        _programs("containers", ("containerd", "runc", "ctr"), "apt-get install containerd runc"),
        _plugins(Path(settings.node.cni_plugins)),
        _programs("persistent volumes", ("mkfs.ext4", "debugfs"), "apt-get install e2fsprogs"),
        _programs("pod network", ("ip", "nft", "tc"), "apt-get install iproute2 nftables"),
        _packet_filter(),
        _files("images to start with", _in(settings, "images", "pause.tar", "busybox.tar", "nginx.tar")),
        _address(settings),
    )
    machine = await asyncio.gather(
        _machine_programs(settings),
        _files("guest kernel and agent", _in(settings, "guest", "vmlinux", "initramfs.cpio", "agent")),
        _files("shim", _in(settings, "bin", containerd.SHIM, "kontinuum-jail", "readonly.so")),
        _templates(),
        _accelerator(settings),
    )
    kernel = [await _sandbox_kernel(settings)]
    overlay = await _overlay(settings)
    programs = await _programs("kubectl", ("kubectl",), "apt-get install kubernetes-client", needed=False)
    return [
        class_finding("class container", ground),
        class_finding("class sandbox", [*ground, *kernel]),
        class_finding("class microvm", [*ground, *machine]),
        *ground,
        *kernel,
        *machine,
        overlay,
        programs,
    ]


def class_finding(name: str, depends_on: Sequence[Finding]) -> Finding:
    """A class can what the weakest of the things it depends on can."""
    missing = [finding.feature for finding in depends_on if finding.can == "no"]
    slow = [finding.feature for finding in depends_on if finding.can == "slowly"]
    if missing:
        return Finding(name, "no", f"it needs: {', '.join(missing)}", "see there")
    if slow:
        return Finding(name, "slowly", f"it depends on: {', '.join(slow)}", "see there")
    return Finding(name, "yes", "everything it needs is here")


async def _rights() -> Finding:
    if os.geteuid() == 0:
        return Finding("administrator", "yes", "our user is root")
    return Finding("administrator", "no", f"our user has the id {os.geteuid()}", "run as root")


async def _namespaces() -> Finding:
    """Tried in a child, so that nothing of it stays."""
    feature = "private mount namespace"
    try:
        await process.run(*UNSHARE, timeout=5)
    except KontinuumError as error:
        return Finding(feature, "no", str(error), "run as root, outside of a restricted container")
    return Finding(feature, "yes", "one was made and made shared inside")


async def _cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    unified = root / "cgroup.controllers"
    version = "v2" if unified.exists() else "v1"
    have = unified.read_text().split() if unified.exists() else [one.name for one in root.glob("*") if one.is_dir()]
    missing = [name for name in CONTROLLERS if name not in have]
    if missing:
        advice = f"boot with these controllers enabled (kernel command line): {', '.join(missing)}"
        return Finding("limits", "no", f"cgroup {version} lacks {', '.join(missing)}", advice)
    return Finding("limits", "yes", f"cgroup {version} has {', '.join(CONTROLLERS)}")


async def _memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    evidence = f"{total / (1 << 30):.1f} GiB of memory"
    if total < SMALLEST_MEMORY:
        return Finding("memory", "slowly", evidence, f"at least {SMALLEST_MEMORY >> 30} GiB is advisable")
    return Finding("memory", "yes", evidence)


async def _programs(feature: str, names: Sequence[str], advice: str, *, needed: bool = True) -> Finding:
    found = {name: process.find_program(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        return Finding(feature, "no", f"not found: {', '.join(missing)}", advice, needed)
    return Finding(feature, "yes", "found " + ", ".join(str(path) for path in found.values()), needed=needed)


async def _packet_filter() -> Finding:
    """The very rules, given to the kernel to be looked at and not to be used."""
    feature = "services and policies"
    try:
        await process.run("nft", "--check", "--file", "-", stdin=sample().encode(), timeout=10)
    except KontinuumError as error:
        advice = "a kernel (5.10 or later) with nf_tables, nf_nat and nf_conntrack, and nftables 1.0.6 or later"
        return Finding(feature, "no", str(error)[:600], advice)
    return Finding(feature, "yes", "the kernel takes our rules")


async def _overlay(settings: Settings) -> Finding:
    """A tunnel in a network namespace of its own, which goes with the program."""
    feature = "pods of other hosts"
    try:
        await process.run(*TUNNEL, timeout=10)
    except KontinuumError as error:
        advice = "a kernel with vxlan; without it only hosts on one network: node.overlay: routes"
        return Finding(feature, "no", str(error)[:300], advice, needed=settings.node.overlay == "vxlan")
    return Finding(feature, "yes", "routes, and a tunnel (VXLAN) was made", needed=settings.node.overlay == "vxlan")


async def _plugins(directory: Path) -> Finding:
    paths = [directory / name for name in ("ptp", "host-local", "portmap", "bandwidth", "firewall", "loopback")]
    return _there("network plug-ins", paths, "apt-get install containernetworking-plugins")


async def _sandbox_kernel(settings: Settings) -> Finding:
    """gVisor, and a way for containerd to drive it."""
    feature = "user-space kernel"
    node = settings.node
    if not node.runsc or not Path(node.runsc).exists():
        return Finding(feature, "no", "not found: runsc", "apt-get install runsc")
    if containerd.has_runsc_shim(node):
        return Finding(feature, "yes", f"found {node.runsc} and its own {containerd.RUNSC_SHIM}")
    adapter = _in(settings, "bin", containerd.RUNSC_ADAPTER)
    missing = _there(feature, adapter, ASSETS)
    return missing if missing.can == "no" else Finding(feature, "yes", f"found {node.runsc}, driven by {adapter[0]}")


async def _files(feature: str, paths: Sequence[Path]) -> Finding:
    return _there(feature, paths, ASSETS)


def _there(feature: str, paths: Sequence[Path], advice: str) -> Finding:
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        return Finding(feature, "no", f"not in {paths[0].parent}: {', '.join(missing)}", advice)
    return Finding(feature, "yes", f"found in {paths[0].parent}")


async def _address(settings: Settings) -> Finding:
    if settings.member_of:
        return await _cluster(settings.member_of)
    listen = settings.server.listen
    try:
        try_listen(listen)
    except AddressTaken as error:
        if settings.installation.state.exists():
            return Finding("API address", "yes", f"{error} (by the platform that runs here)")
        return Finding("API address", "no", str(error), "choose another with --listen")
    return Finding("API address", "yes", f"{listen} can be bound")


async def _cluster(server: str) -> Finding:
    """Of a machine that is a member: whether the API server's port answers."""
    found = urlsplit(server)
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(found.hostname, found.port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or "no answer within 3 s"
        return Finding("cluster", "no", f"{server}: {reason}", "is the API server up, and may this machine reach it?")
    writer.close()
    return Finding("cluster", "yes", f"{server} answers")


async def _templates() -> Finding:
    """Clones map a template's memory: on a disk each would wait for it, on a tmpfs none does."""
    free = os.statvfs("/dev/shm")
    megabytes = free.f_bavail * free.f_frsize >> 20
    if megabytes < 256:
        return Finding("machine templates", "slowly", f"{megabytes} MB free in /dev/shm", "make /dev/shm larger")
    return Finding("machine templates", "yes", f"{megabytes} MB free in /dev/shm")


async def _machine_programs(settings: Settings) -> Finding:
    if settings.runtime.vmm == "firecracker":
        advice = "put a release of Firecracker on the PATH, or set runtime.vmm: qemu; "
        advice += "apt-get install erofs-utils e2fsprogs"
        return await _programs("virtual machines", ("firecracker", "mkfs.erofs", "mkfs.ext4"), advice)
    advice = "apt-get install qemu-system-x86 erofs-utils e2fsprogs"
    return await _programs("virtual machines", ("qemu-system-x86_64", "mkfs.erofs", "mkfs.ext4"), advice)


async def _accelerator(settings: Settings) -> Finding:
    decided = settings.node.accelerator
    if decided:
        return _judged(decided, "the settings say so (node.accelerator)")
    began = time.monotonic()
    found = await probe()
    return _judged(found.name, f"{found.reason}, {time.monotonic() - began:.1f} s")


def _judged(name: str, evidence: str) -> Finding:
    if name == "kvm":
        return Finding("hardware virtualization", "yes", evidence)
    advice = "microVMs work by emulation (TCG), many times slower: use a host with working KVM"
    return Finding("hardware virtualization", "slowly", evidence, advice)


def _in(settings: Settings, directory: str, *names: str) -> list[Path]:
    return [Path(settings.assets_dir) / directory / name for name in names]
