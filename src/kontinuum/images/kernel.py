"""The guest kernel: Debian's cloud kernel, taken from its packages and never installed on the host.

Up to Debian 13 it is one package; in 14 the kernel itself, its modules and their lists have one each. What comes is a
compressed bzImage; a microVM is booted by the PVH entry of the ELF inside it, which spares the
guest its own decompression. Offsets are those of the Linux x86 boot protocol (Documentation/arch/x86/boot.rst).
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.errors import Broken
from kontinuum.images import debian

META_PACKAGE = "linux-image-cloud-amd64"
SETUP_SECTORS = 0x1F1
PAYLOAD = struct.Struct("<II")
PAYLOAD_AT = 0x248
ELF = b"\x7fELF"
DECOMPRESSORS = {
    b"\x02\x21\x4c\x18": ("lz4", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dc"),
    b"\xfd7zXZ\x00": ("xz", "-dc"),
    b"\x1f\x8b": ("gzip", "-dc"),
}
# What follows the compressed kernel inside the payload: its size when unpacked.
TRAILER = 4


class KernelUnusable(Broken):
    """The distribution's kernel is not what we can boot; the message says what was found."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel's unpacked packages."""

    root: Path
    release: str
    """As ``uname -r`` says inside the guest."""

    @property
    def image(self) -> Path:
        """Beside the modules since Debian 14."""
        before = self.root / "boot" / f"vmlinuz-{self.release}"
        return before if before.exists() else self.modules / "vmlinuz"

    @property
    def modules(self) -> Path:
        return self.root / "lib" / "modules" / self.release


async def package_name() -> str:
    """The versioned package that Debian's meta package stands for today. Raises KernelUnusable."""
    answer = await process.run("apt-cache", "depends", META_PACKAGE, timeout=60)
    for line in answer.text.splitlines():
        relation, _, package = line.strip().partition(": ")
        if relation == "Depends" and package.startswith("linux-image-"):
            return package
    raise KernelUnusable(f"apt knows no kernel behind {META_PACKAGE}; run: apt-get update")


def parts(package: debian.Package) -> list[str]:
    """The packages that make up a kernel: its own, and those of the same release that it needs."""
    return [package.name, *(need for need in package.needs if need.endswith(f"-{_release(package.name)}"))]


async def fetch(package: str, *, into: Path) -> Kernel:
    """Download and unpack ``package`` and its parts below ``into``."""
    [described] = await debian.describe([package])
    with tempfile.TemporaryDirectory(prefix="kontinuum-kernel-") as temporary:
        await debian.unpack(await debian.download(parts(described), into=Path(temporary)), root=into)
    kernel = Kernel(root=into, release=_release(package))
    # The package's own installation would have run this; without it nothing says which module needs which.
    await process.run("depmod", "--basedir", into, kernel.release, timeout=120)
    return kernel


def _release(package: str) -> str:
    return package.removeprefix("linux-image-")


async def unpack_elf(image: bytes) -> bytes:
    """The ELF inside a bzImage. Raises KernelUnusable, process.ProgramMissing (no decompressor)."""
    start, length = PAYLOAD.unpack_from(image, PAYLOAD_AT)
    start += (image[SETUP_SECTORS] + 1) * 512
    payload = image[start : start + length]
    elf = await _decompress(payload, length=len(payload) - TRAILER)
    if not elf.startswith(ELF):
        raise KernelUnusable("what came out of the bzImage is no ELF file")
    return elf


async def unpack_module(module: bytes) -> bytes:
    """The ELF that a module's file holds, compressed or not. Raises KernelUnusable, process.ProgramMissing."""
    return module if module.startswith(ELF) else await _decompress(module, length=len(module))


async def _decompress(packed: bytes, *, length: int) -> bytes:
    """What the first ``length`` bytes of ``packed`` are when they are unpacked."""
    for magic, command in DECOMPRESSORS.items():
        if packed.startswith(magic):
            return (await process.run(*command, stdin=packed[:length], timeout=120)).stdout
    raise KernelUnusable(f"this is compressed in a way we do not know (it starts with {packed[:6].hex()})")


def load_order(dependencies: str, wanted: Iterable[str]) -> list[str]:
    """Paths of the ``wanted`` modules (names, ``-`` or ``_``) and all they need, each after its needs.

    ``dependencies`` is the text of ``modules.dep``. A module that is built into the kernel has no line there and is
    left out. The first wanted come first.
    """
    needs: dict[str, list[str]] = {}
    path_of: dict[str, str] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        path_of[module_name(path)] = path
    ordered: list[str] = []

    def add(path: str) -> None:
        if path not in ordered:
            for needed in needs[path]:
                add(needed)
            ordered.append(path)

    for name in wanted:
        if name.replace("-", "_") in path_of:
            add(path_of[name.replace("-", "_")])
    return ordered


def module_name(path: str) -> str:
    """As the kernel knows it: ``kernel/drivers/net/virtio-net.ko.xz`` is ``virtio_net``."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
