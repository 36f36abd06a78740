"""What a microVM boots from: a kernel, and an initramfs with the guest agent as its first process.

guest/vmlinux         the kernel's ELF, booted by its PVH entry
guest/initramfs.cpio  /init (the agent), /modules/NN-name.ko, and the orders to load them in: /modules/order,
                     and /modules/vsock for a VMM that has no virtio-serial port
guest/agent           the agent alone
guest/vsock_loopback.ko  for the test suite, whose hosts have no vsock into a guest; never given to one that matters
guest/version         what all of it was made from; templates are keyed by it
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from kontinuum.foundation import files, process
from kontinuum.images import initramfs, kernel
from kontinuum.images.recipes import compile_static

# The agent belongs to the runtime, a floor above us; all we need of it is C text to compile.
AGENT_SOURCES = Path(__file__).parents[1] / "runtime" / "guest" / "agent"
MODULES = (
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "erofs",
    "ext4",
    "overlay",
)
VSOCK_MODULES = ("vmw_vsock_virtio_transport",)
"""Never ``vsock_loopback``: with it, a program in the guest could call the agent (which would hang up)."""
LOOPBACK_MODULE = "vsock_loopback"


async def build_guest(assets: Path) -> None:
    """Make ``assets/guest`` unless it was made from the same agent, modules and kernel package already.

    Raises kernel.KernelUnusable, process.ProgramFailed (apt, compiler), process.ProgramMissing.
    """
    target = assets / "guest"
    target.mkdir(parents=True, exist_ok=True)
    package = await kernel.package_name()
    version = _version(package)
    if (target / "version").exists() and (target / "version").read_text() == version:
        return
    print(f"  building the guest from {package} ...", flush=True)
    await compile_static(sorted(AGENT_SOURCES.glob("*.c")), target=target / "agent")
    with tempfile.TemporaryDirectory(prefix="kontinuum-guest-") as temporary:
        fetched = await kernel.fetch(package, into=Path(temporary))
        files.write_atomic(target / "vmlinux", await kernel.unpack_elf(fetched.image.read_bytes()))
        archive = initramfs.pack(await _entries(target / "agent", fetched))
        files.write_atomic(target / "initramfs.cpio", archive)
        [*_needs, loopback] = kernel.load_order(_dependencies(fetched), [LOOPBACK_MODULE])
        files.write_atomic(target / f"{LOOPBACK_MODULE}.ko", await _module(fetched.modules / loopback))
    # Last, so that an interrupted build is made again.
    files.write_atomic(target / "version", version.encode())


async def _entries(agent: Path, fetched: kernel.Kernel) -> list[initramfs.Entry]:
    dependencies = _dependencies(fetched)
    order = kernel.load_order(dependencies, MODULES)
    always = len(order)
    order += [path for path in kernel.load_order(dependencies, VSOCK_MODULES) if path not in order]
    names = [f"{number:02}-{kernel.module_name(path)}.ko" for number, path in enumerate(order)]
    entries = [initramfs.directory(path) for path in ("dev", "proc", "sys", "run", "modules")]
    entries.append(initramfs.character_device("dev/console", 5, 1))
    entries.append(initramfs.file("init", agent.read_bytes(), executable=True))
    for list_name, listed in (("order", names[:always]), ("vsock", names[always:])):
        entries.append(initramfs.file(f"modules/{list_name}", "".join(f"{name}\n" for name in listed).encode()))
    for name, path in zip(names, order, strict=True):
        entries.append(initramfs.file(f"modules/{name}", await _module(fetched.modules / path)))
    return entries


async def _module(file: Path) -> bytes:
    """The module as the agent loads it: unpacked, and without its debugging information.

    That is nine tenths of it, and the guest pays for it in memory.
    """
    file.write_bytes(await kernel.unpack_module(file.read_bytes()))
    await process.run("strip", "--strip-debug", file, timeout=30)
    return file.read_bytes()


def _dependencies(fetched: kernel.Kernel) -> str:
    return (fetched.modules / "modules.dep").read_text()


def _version(package: str) -> str:
    digest = hashlib.sha256(f"{package} {MODULES} {VSOCK_MODULES} {LOOPBACK_MODULE}".encode())
    for source in sorted(AGENT_SOURCES.glob("*.[ch]")):
        digest.update(source.read_bytes())
    return digest.hexdigest()
