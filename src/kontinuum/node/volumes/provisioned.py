"""This node's PersistentVolumes of ``kontinuum.dev/host-path``: disk images, made when used, erased when told.

    ROOT/pvc-UID/disk       the image: an ext4 file system as large as the claim asked for
    ROOT/pvc-UID/mounted    where this machine has mounted it for its containers; pods have bind mounts of it

Of a volume that is a block device the image is the disk itself, without a file system; containers have a loop device.

A container's volume and a machine's are the same image, one after the other. Never do two write to it: whoever has it
holds flock(2) on the image, the loop device as well as a virtual machine, and the kernel lets go of it with the last
user, whatever has been killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from kontinuum.foundation import process
from kontinuum.foundation.errors import Refused, Retryable
from kontinuum.foundation.files import name_when_written
from kontinuum.node.volumes import loop, mounts

FILE_SYSTEM = "ext4"
LEAST_BYTES = 16 << 20
"""Smaller claims get this much: of less, the file system itself would take most."""
REPAIR_SECONDS = 600.0
IMAGE, MOUNTED = "disk", "mounted"
_FOR_EVERYBODY = b"rmdir lost+found\nset_inode_field / mode 040777\n"
"""Whoever the pod's processes are, they may write, as in an emptyDir; and an empty volume is empty."""
_STATE_AT, _HAS_ERRORS = 1024 + 58, 2
"""Where the superblock says how the file system is, and the bit by which it says that it has seen an error."""
_REPAIRED = 1
"""e2fsck's exit status, beside 0, of a file system that is well."""
_EXT4_RESIZE = 0x40086610
"""EXT4_IOC_RESIZE_FS, with the new number of blocks."""
_LARGEST_BLOCK = 6
"""As its superblock writes it: 64 KiB. A guest may have written anything there."""
_LEFT_OUT = 2048
"""Blocks. A file system does without a last group that would hold little more than its own tables (some 1,600)."""


class NotAVolume(Refused):
    """What is to be erased is no volume of ours."""


class VolumeInUse(Retryable):
    """Somebody else writes to the volume."""


class NotEnlarged(Retryable):
    """The volume keeps its size, and what is in it; the message says why. It may be used, and is to be tried again."""


def is_directory(place: Path) -> bool:
    """Whether the volume is one that was made when volumes were plain directories."""
    return place.is_dir() and not (place / IMAGE).exists() and any(place.iterdir())


async def have(place: Path, size_bytes: int, *, is_for_machine: bool) -> Path:
    """The image of a volume of files, made if it is not there, enlarged if it has become too small and nobody uses it.

    A machine lets its file system fill its disk itself: what it has written is not for this host's tools to read.
    Raises NotEnlarged when all else is done, process.ProgramFailed (a full disk), process.ProgramMissing (e2fsprogs),
    OSError.
    """
    image = place / IMAGE
    size = max(size_bytes, LEAST_BYTES)
    if not image.exists():
        await _make(image, size)
        return image
    if is_for_machine:
        lengthen(place, size)
        return image
    with image.open("r+b", buffering=0) as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_size < size:
            file.truncate(size)
        if not (_grows_mounted(file.fileno()) or _is_filled(file.fileno(), size)):
            await _enlarge(image)
    return image


def have_block(place: Path, size_bytes: int) -> Path:
    """The image of a volume that is a block device; as ``have``."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    (place / IMAGE).open("ab").close()
    lengthen(place, size_bytes)
    return place / IMAGE


def lengthen(place: Path, size_bytes: int) -> None:
    """Let the image be as large as that, if nobody uses it: under its machine it would grow for nobody.

    It is locked only to become larger: a pod that begins with the volume just now is not to find it in use. Raises
    OSError.
    """
    image = place / IMAGE
    if _is_long(image, size_bytes):
        return
    with image.open("r+b", buffering=0) as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_size < size_bytes:
            file.truncate(size_bytes)


def has_size(place: Path, size_bytes: int) -> bool:
    """Whether the image is as large as that, and the device too that shows it to containers; of a block device that is
    all."""
    image = place / IMAGE
    device = loop.showing(image)
    return _is_long(image, size_bytes) and (device is None or _sees(device, size_bytes))


def refusal(place: Path) -> NotEnlarged | None:
    """Why no machine's kernel enlarges the file system in the image, which is larger; None if one does, or has.

    Read from the superblock, where a kernel writes at once that it has seen an error, and at the next mount at the
    latest that the journal knows of one. Raises OSError.
    """
    image = place / IMAGE
    with image.open("rb", buffering=0) as file:
        if _is_filled(file.fileno(), image.stat().st_size) or not _has_seen_an_error(file.fileno()):
            return None
    return NotEnlarged(f"run e2fsck on {image} when no pod has it: its file system has seen an error")


def is_filled(place: Path) -> bool:
    """Whether the file system is as large as its image, as far as its kernel has written that down: ours does at once,
    that of a machine within a minute."""
    image = place / IMAGE
    with (loop.showing(image) or image).open("rb", buffering=0) as file:
        return _is_filled(file.fileno(), image.stat().st_size)


def show(place: Path, target: Path) -> None:
    """Bind the volume's files to the directory ``target``, where they may be already.

    Raises VolumeInUse while a virtual machine has the volume, and OSError.
    """
    mounted = place / MOUNTED
    with _alone(place):
        if mounted not in mounts.devices():
            _mount(place / IMAGE, mounted)
        if target not in mounts.below(target):
            target.mkdir(parents=True, exist_ok=True)
            mounts.bind(mounted, target)


def grow(place: Path, size_bytes: int) -> None:
    """Enlarge a volume that has become too small while it is mounted, where we may. Raises NotEnlarged."""
    image, mounted = place / IMAGE, place / MOUNTED
    with _alone(place):
        device = mounts.devices().get(mounted)
        is_long = _is_long(image, size_bytes)
        if device is None or (is_long and is_filled(place)) or not _image_grows_mounted(image):
            return
        try:
            if not is_long:
                os.truncate(image, size_bytes)
            loop.see_new_size(Path(f"/dev/loop{device.partition(':')[2]}"))
            _fill(mounted, image.stat().st_size)
        except OSError as error:
            raise NotEnlarged(f"the file system in {image}: {error}") from error


def show_block(place: Path, target: Path) -> Path:
    """The volume's block device, and a link to it at ``target``: it stays while there is one. Raises as ``show``."""
    image = place / IMAGE
    with _alone(place):
        device = loop.showing(image)
        if device is None:
            with _locked(image) as file, loop.attached(file, for_good=True) as device:
                pass
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(device)
    return device


def grow_block(place: Path, size_bytes: int) -> None:
    """Enlarge a block device that containers have, and that has become too small. Raises NotEnlarged."""
    image = place / IMAGE
    with _alone(place):
        device = loop.showing(image)
        # The device itself is asked: it may not have seen what the image has grown by.
        if device is None or _sees(device, size_bytes):
            return
        try:
            if not _is_long(image, size_bytes):
                os.truncate(image, size_bytes)
            loop.see_new_size(device)
        except OSError as error:
            raise NotEnlarged(f"the device {device} of {image}: {error}") from error


def let_go(root: Path, pods: Path) -> None:
    """Unmount the volumes of which no pod has a bind mount any more, and detach devices to which no pod has a link.

    ``pods`` is the directory of all pods. Raises OSError.
    """
    for place in root.glob("*/"):
        if loop.showing(place / IMAGE) is not None:
            # Asked again when nobody else is at it: a pod may be about to begin with the volume.
            with _alone(place):
                device = loop.showing(place / IMAGE)
                if device is not None and device not in _linked(pods) and place / MOUNTED not in mounts.devices():
                    loop.detach(device)
    for mounted, users in _users(root).items():
        if users == 1:
            with _alone(mounted.parent):
                if _users(root).get(mounted) == 1:
                    mounts.unmount(mounted)


def erase(root: Path, name: str) -> None:
    """Remove one volume with all that is in it; one that is gone already is no error.

    Raises NotAVolume for a name that leads anywhere else, and OSError if something cannot be removed.
    """
    place, gone = root / name, root / f".erasing-{name}"
    if not name or name.startswith(".") or "/" in name or place.is_symlink():
        raise NotAVolume(f"erasing {name!r}: it names no directory of {root}")
    for point in mounts.below(place):
        mounts.unmount(point)
    # Renamed first: a half-removed volume must never be taken for a whole one.
    if place.exists() and not gone.exists():
        place.rename(gone)
    for left in (gone, place):
        if left.exists():
            shutil.rmtree(left)


async def _enlarge(image: Path) -> None:
    """Of a volume that nobody uses. Raises NotEnlarged, also for one that ``e2fsck`` cannot repair by itself."""
    try:
        repaired = await process.run("e2fsck", "-f", "-p", image, timeout=REPAIR_SECONDS, check=False)
        if repaired.code & ~_REPAIRED:
            said = repaired.text or repaired.stderr.decode(errors="replace")
            raise NotEnlarged(f"run e2fsck on {image}: {' '.join(said.split())}")
        await process.run("resize2fs", image, timeout=REPAIR_SECONDS)
    except (process.ProgramFailed, process.ProgramMissing) as error:
        raise NotEnlarged(f"the file system in {image}: {error}") from error


async def _make(image: Path, size: int) -> None:
    image.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = image.with_name(f".{IMAGE}")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        file.truncate(size)
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    await process.run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, unfinished, timeout=REPAIR_SECONDS)
    await process.run("debugfs", "-w", "-f", "-", unfinished, stdin=_FOR_EVERYBODY, timeout=REPAIR_SECONDS)
    name_when_written(unfinished, image)


def _linked(pods: Path) -> set[Path]:
    """The block devices that pods have."""
    return {link.readlink() for link in pods.glob("*/volumes/*") if link.is_symlink()}


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Nobody else mounts or unmounts the volume meanwhile."""
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _mount(image: Path, target: Path) -> None:
    target.mkdir(exist_ok=True, mode=0o700)
    with _locked(image) as file, loop.attached(file) as device:
        mounts.mount_device(device, target, FILE_SYSTEM)


@contextmanager
def _locked(image: Path) -> Iterator[int]:
    """The open image, which nobody else writes to. Raises VolumeInUse."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    except BlockingIOError as error:
        who = "a pod with a kernel of its own (microvm, vm), which needs it alone"
        raise VolumeInUse(f"volume {image.parent.name} is in use by {who}: wait until that has ended") from error
    finally:
        os.close(file)


def _fill(mounted: Path, size_bytes: int) -> None:
    """Let the mounted file system be as large as its image."""
    root = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        blocks = size_bytes // os.fstatvfs(root).f_bsize
        fcntl.ioctl(root, _EXT4_RESIZE, struct.pack("=Q", blocks))
    finally:
        os.close(root)


def _is_filled(file: int, size_bytes: int) -> bool:
    """Whether the file system, by its superblock, is as large as that, as nearly as it can be."""
    superblock = os.pread(file, 1024, 1024)
    blocks, logarithm = struct.unpack_from("<I", superblock, 4)[0], struct.unpack_from("<I", superblock, 24)[0]
    blocks += struct.unpack_from("<I", superblock, 0x150)[0] << 32
    return bool(logarithm <= _LARGEST_BLOCK and size_bytes < (blocks + _LEFT_OUT) << (10 + logarithm))


def _is_long(image: Path, size_bytes: int) -> bool:
    return image.stat().st_size >= size_bytes


def _sees(device: Path, size_bytes: int) -> bool:
    """Whether the device is as large as that, but for a part of a sector, of which none makes use."""
    return loop.sectors(device) >= size_bytes // loop.SECTOR_BYTES


def _grows_mounted(file: int) -> bool:
    """Whether the file system in the open image is enlarged while it is mounted, which Linux does not do with one that
    has seen an error (the host's disk was full)."""
    return _may_grow_mounted() and not _has_seen_an_error(file)


def _has_seen_an_error(file: int) -> bool:
    [state] = struct.unpack("<H", os.pread(file, 2, _STATE_AT))
    return bool(state & _HAS_ERRORS)


def _image_grows_mounted(image: Path) -> bool:
    with image.open("rb", buffering=0) as file:
        return _grows_mounted(file.fileno())


@cache
def _may_grow_mounted() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, which ext4 wants for it: in some containers not even root has."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


def _users(root: Path) -> dict[Path, int]:
    """The volumes that are mounted, and at how many places each is."""
    devices = mounts.devices()
    counts = {device: list(devices.values()).count(device) for device in devices.values()}
    found = {point: counts[device] for point, device in devices.items() if point.name == MOUNTED}
    return {point: count for point, count in found.items() if point.parent.parent == root}
