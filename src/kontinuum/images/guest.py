"""What a microVM boots from: a kernel, and an initramfs with the guest agent as its first process.

guest/vmlinux         the kernel's ELF, booted by its PVH entry
guest/initramfs.cpio  /init (the agent), /modules/NN-name.ko, /modules/order
guest/agent           the agent alone
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
    # Last, so that an interrupted build is made again.
    files.write_atomic(target / "version", version.encode())


async def _entries(agent: Path, fetched: kernel.Kernel) -> list[initramfs.Entry]:
    order = kernel.load_order((fetched.modules / "modules.dep").read_text(), MODULES)
    names = [f"{number:02}-{Path(path).name}" for number, path in enumerate(order)]
    entries = [initramfs.directory(path) for path in ("dev", "proc", "sys", "run", "modules")]
    entries.append(initramfs.character_device("dev/console", 5, 1))
    entries.append(initramfs.file("init", agent.read_bytes(), executable=True))
    entries.append(initramfs.file("modules/order", "".join(f"{name}\n" for name in names).encode()))
    for name, path in zip(names, order, strict=True):
        module = fetched.modules / path
        # Debugging information is nine tenths of a module, and the guest pays for it in memory.
        await process.run("strip", "--strip-debug", module, timeout=30)
        entries.append(initramfs.file(f"modules/{name}", module.read_bytes()))
    return entries


def _version(package: str) -> str:
    digest = hashlib.sha256(f"{package} {MODULES}".encode())
    for source in sorted(AGENT_SOURCES.glob("*.[ch]")):
        digest.update(source.read_bytes())
    return digest.hexdigest()
