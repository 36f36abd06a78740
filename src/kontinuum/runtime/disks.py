"""Block images from container images: one read-only erofs per set of layers, built once, shared by every machine.

containerd describes a root file system by its mounts: an overlay over the image's layers, or a bind of its only layer.
The layers never change, so the image is cached under a digest of them; inode and change time are part of it, because
containerd uses the path of a removed layer again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.errors import Refused
from kontinuum.runtime.messages import Mount
from kontinuum.runtime.vmm.port import DISK_BYTES

FILE_SYSTEM = "erofs"
BUILD_SECONDS = 600.0
LOWER = "lowerdir="


class RootfsRefused(Refused):
    """The mounts of a root file system are of a kind that no image can be made of; the message names it."""


def layers_of(mounts: tuple[Mount, ...]) -> list[Path]:
    """The layers' directories, uppermost first. Raises RootfsRefused."""
    if len(mounts) != 1:
        raise RootfsRefused(f"a root file system of {len(mounts)} mounts cannot be made into an image")
    [mount] = mounts
    if mount.type == "bind":
        return [Path(mount.source)]
    for option in mount.options:
        if mount.type == "overlay" and option.startswith(LOWER):
            return [Path(path) for path in option.removeprefix(LOWER).split(":")]
    raise RootfsRefused(f"a root file system of type {mount.type} cannot be made into an image; use overlayfs")


async def image_for(mounts: tuple[Mount, ...], *, cache: Path) -> Path:
    """The image of a root file system, from the cache or built now. Concurrent callers build it once.

    Raises RootfsRefused, process.ProgramFailed (mkfs.erofs, e.g. for a full disk), process.ProgramMissing.
    """
    layers = layers_of(mounts)
    image = cache / f"{_key(layers)}.{FILE_SYSTEM}"
    if not image.exists():
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(image.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            await _take(lock)
            if not image.exists():
                await _build(layers, image)
        finally:
            os.close(lock)
    return image


def forget_unused(cache: Path) -> list[Path]:
    """Remove the images whose layers are not on this host any more; answers what was removed."""
    removed = []
    for listing in cache.glob("*.layers"):
        if not all(Path(layer).exists() for layer in listing.read_text().splitlines()):
            for suffix in (f".{FILE_SYSTEM}", ".lock", ".layers"):
                listing.with_suffix(suffix).unlink(missing_ok=True)
            removed.append(listing.with_suffix(f".{FILE_SYSTEM}"))
    return removed


def _key(layers: list[Path]) -> str:
    digest = hashlib.sha256()
    for layer in layers:
        status = layer.stat()
        digest.update(f"{layer} {status.st_ino} {status.st_ctime_ns}\n".encode())
    return digest.hexdigest()[:32]


async def _take(lock: int) -> None:
    """Wait for the lock without holding up the loop: the builder may be another shim."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(0.02)


async def _build(layers: list[Path], image: Path) -> None:
    unfinished = image.with_suffix(".partial")
    unfinished.unlink(missing_ok=True)
    mkfs = ["mkfs.erofs", "-d0", str(unfinished)]
    if len(layers) == 1:
        await process.run(*mkfs, layers[0], timeout=BUILD_SECONDS)
    else:
        # Merged by the kernel, in a mount namespace that ends with the program. Paths are relative to the layers'
        # common directory, because mount options longer than a page are cut off.
        common = Path(os.path.commonpath(layers))
        lower = ":".join(str(layer.relative_to(common)) for layer in layers)
        script = 'mount -t overlay -o "$1" overlay "$2" && shift && source=$1 && shift && exec "$@" "$source"'
        merged = unfinished.with_suffix(".merged")
        merged.mkdir(exist_ok=True)
        try:
            alone = ["unshare", "--mount", "--propagation", "private"]
            merge = ["sh", "-c", script, "sh", LOWER + lower, str(merged)]
            await process.run(*alone, *merge, *mkfs, timeout=BUILD_SECONDS, cwd=common)
        finally:
            merged.rmdir()
    os.truncate(unfinished, DISK_BYTES)
    image.with_suffix(".layers").write_text("".join(f"{layer}\n" for layer in layers))
    unfinished.rename(image)
