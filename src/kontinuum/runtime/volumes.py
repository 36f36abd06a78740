"""Host directories and files that a pod's containers mount: copied into the machine, once per source, and kept fresh.

A machine does not share its host's file system. What is mounted read-only everywhere (ConfigMaps, Secrets, tokens) is
compared with the host now and then and copied again when it changed. What may be written (emptyDir) is copied once and
is from then on the pod's own, shared by its containers inside the machine. A single file that may be written is brought
back when its container has ended: it is how a container leaves word for the host (Kubernetes' termination message).
A volume that is a disk (``disk_volumes``) is not copied: the machine mounts it. One that is a file system of its own on
the host, as an emptyDir in memory is, has no more room in the machine than there.
"""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from kontinuum.foundation.clock import Clock
from kontinuum.foundation.errors import Refused
from kontinuum.runtime import oci
from kontinuum.runtime.disk_volumes import DiskVolume, described
from kontinuum.runtime.guest.port import Guest, GuestRefused, VolumeDisk
from kontinuum.runtime.oci import Document, SpecRefused

log = structlog.get_logger(__name__)

WHOLE = ("pods/*/volumes/*~*/*", "pods/*/volumes/*")
"""Where node agents (the kubelet, ours) keep a pod's volumes. One of which a part is mounted is copied whole, so that
another container which mounts another part of it, or all of it, sees the same files."""
PART = "pods/*/volume-subpaths/*/*/*"
"""Where a kubelet binds the part of a volume that a container mounts: below the volume's name, the container's, a
number. What is mounted says nothing of where in the volume it lies; its inode does."""
AS_MADE = ("kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~downward-api", "kubernetes.io~projected")
"""Volumes of which a part stays what it was when it was mounted, while the whole is renewed: nothing is shared."""
GUEST_HOME = "/run/kontinuum/volumes"
SHARED_MEMORY = "/dev/shm"

Fingerprint = tuple[tuple[object, ...], ...]


@dataclass(slots=True)
class _Volume:
    source: Path
    guest_directory: str
    guest_path: str
    read_only: bool
    fingerprint: Fingerprint
    is_disk: bool = False


class Volumes:
    """The copies inside one machine, and the disks that it mounts."""

    def __init__(
        self,
        *,
        limit_bytes: int,
        attach: Callable[[Path], Awaitable[str]],
        detach: Callable[[str], Awaitable[None]],
    ) -> None:
        """``attach`` puts a disk that is written to into a slot of the machine, and answers which; ``detach`` takes it
        out again."""
        self._limit_bytes = limit_bytes
        self._attach = attach
        self._detach = detach
        self._volumes: dict[str, _Volume] = {}
        # Two containers that are created at once must not both copy what they share.
        self._lock = asyncio.Lock()

    async def provide(self, guest: Guest, mounts: Iterable[Document]) -> dict[str, str]:
        """Copy what the container's bind mounts need and is not there yet.

        Returns where each source lies in the guest. Raises SpecRefused if a source is missing or too large.
        """
        async with self._lock:
            return {mount["source"]: await self._place(guest, mount) for mount in filter(oci.is_bind, mounts)}

    async def bring_back(self, guest: Guest, mounts: Iterable[Document]) -> None:
        """Write the single files that a container has changed to the host. Raises GuestLost.

        A file that the host has changed too since it was copied is the host's: the container worked on an old one.
        """
        for mount in filter(oci.is_bind, mounts):
            volume = self._volumes.get(mount["source"])
            # A file stands also for a disk that containers have as a device.
            if volume is None or volume.read_only or volume.is_disk or not volume.source.is_file():
                continue
            if fingerprint(volume.source) != volume.fingerprint:
                continue
            try:
                content = await guest.read_file(volume.guest_path)
                # In place: others may have this very file mounted.
                if content != volume.source.read_bytes():
                    _write_in_place(volume.source, content)
                    volume.fingerprint = fingerprint(volume.source)
            except (Refused, OSError) as error:
                log.warning("a file was not brought back", source=str(volume.source), reason=str(error))

    async def keep_fresh(self, guest: Guest, *, every: float, clock: Clock) -> None:
        """Copy again what changed on the host, for ever. ``every`` is in seconds. Raises GuestLost."""
        while True:
            await clock.sleep(every)
            for volume in list(self._volumes.values()):
                if volume.read_only and not volume.is_disk:
                    await self._refresh(guest, volume)

    async def let_go(self, guest: Guest) -> None:
        """Unmount the disks: all that was written to them is on the host then. Raises GuestLost."""
        for volume in self._volumes.values():
            if not volume.is_disk:
                continue
            try:
                await guest.unmount(volume.guest_path)
            except GuestRefused as error:
                # A process that outlives its container holds it, and what was written is on the disk all the same; or
                # the host's disk is full, and whoever waited for the end of a write was told.
                log.warning("a disk was not unmounted", source=str(volume.source), reason=str(error))

    async def _place(self, guest: Guest, mount: Document) -> str:
        """Where the mount's source lies in the guest, as a part of its whole volume."""
        source = unbound(Path(mount["source"]))
        volume = await self._provide_one(guest, mount, whole(source))
        below = source.relative_to(volume.source)
        if not below.parts:
            return volume.guest_path
        # A directory that was made on the host after the volume was copied is made by the agent when it is mounted:
        # a container may have made it before, and what it wrote there must stay.
        return f"{volume.guest_path}/{below}"

    async def _provide_one(self, guest: Guest, mount: Document, source: Path) -> _Volume:
        volume = self._volumes.get(str(source))
        read_only = "ro" in (mount.get("options") or ())
        if volume is None:
            volume = self._make(source, read_only=read_only)
            if (disk := described(source)) is not None:
                volume.is_disk = True
                await self._mount_disk(guest, disk, volume.guest_path)
            else:
                await self._copy(guest, volume, mount)
            self._volumes[str(volume.source)] = volume
        volume.read_only &= read_only
        return volume

    async def _copy(self, guest: Guest, volume: _Volume, mount: Document) -> None:
        try:
            archive = self._archive(volume.source, mount)
            room = None if volume.read_only or is_shared_memory(mount) else room_of(volume.source)
        except OSError as error:
            raise SpecRefused(f"mount {mount['destination']}: {error}") from error
        if room is None:
            await guest.write_tree(volume.guest_directory, archive)
            return
        await guest.mount_memory(volume.guest_directory, size_bytes=room)
        try:
            await guest.write_tree(volume.guest_directory, archive)
        except GuestRefused:
            # Whatever is put there next, this or another volume, has room of its own. (Where the machine's own bound
            # is the smaller one, nothing was mounted.)
            with suppress(GuestRefused):
                await guest.unmount(volume.guest_directory)
            raise

    async def _mount_disk(self, guest: Guest, disk: DiskVolume, path: str) -> None:
        slot = await self._attach(disk.image)
        try:
            await guest.mount_disk(VolumeDisk(slot, disk.file_system, path, group=disk.group))
        except GuestRefused:
            # Whoever tries again would find it in use, by us.
            await self._detach(slot)
            raise

    async def _refresh(self, guest: Guest, volume: _Volume) -> None:
        now = fingerprint(volume.source)
        # Nothing there: the pod is being torn down, and its files go first.
        if now == volume.fingerprint or not now:
            return
        try:
            archive = pack(volume.source, limit_bytes=self._limit_bytes)
            await guest.write_tree(volume.guest_directory, archive)
        except (Refused, OSError) as error:
            # The next round sees the change again; a directory may be read in the middle of its update.
            log.warning("a volume could not be refreshed", source=str(volume.source), reason=str(error))
            return
        volume.fingerprint = now

    def _make(self, source: Path, *, read_only: bool) -> _Volume:
        directory = f"{GUEST_HOME}/{len(self._volumes)}"
        # A file lies in a directory of its own, under its own name.
        path = directory if source.is_dir() else f"{directory}/{source.name}"
        return _Volume(source, directory, path, read_only, fingerprint(source))

    def _archive(self, source: Path, mount: Document) -> bytes:
        """Raises SpecRefused, OSError."""
        if is_shared_memory(mount):
            # containerd gives each pod a tmpfs on the host for it; the machine has memory of its own.
            return empty_directory(mode=0o1777)
        return pack(source, limit_bytes=self._limit_bytes)


def _write_in_place(path: Path, content: bytes) -> None:
    """Never through a link that somebody has put there meanwhile. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def whole(source: Path) -> Path:
    """The volume of which ``source`` is a part; ``source`` itself if it is none that we know (see WHOLE)."""
    for pattern in WHOLE:
        for path in (source, *source.parents):
            if path.match(pattern):
                return path
    return source


def is_shared_memory(mount: Document) -> bool:
    return bool(mount["destination"] == SHARED_MEMORY)


def room_of(source: Path) -> int | None:
    """Bytes of the file system that begins at the directory ``source``; None if none does, or one without a size."""
    if not source.is_dir() or source.stat().st_dev == source.parent.stat().st_dev:
        return None
    about = os.statvfs(source)
    return about.f_blocks * about.f_frsize or None


def unbound(source: Path) -> Path:
    """Where in its volume a part lies that a kubelet has bound elsewhere (see PART); any other ``source`` itself."""
    if not source.match(PART):
        return source
    name, pod = source.parents[1].name, source.parents[3]
    volumes = [one for one in pod.glob("volumes/*~*/*") if one.name == name and one.parent.name not in AS_MADE]
    found = (place for volume in volumes for place in _places(volume) if _is_same(place, source))
    return next(found, source)


def _places(volume: Path) -> Iterator[Path]:
    """The volume and everything in it, what lies near first in each directory; links are not followed."""
    for directory, _, files in os.walk(volume):
        yield Path(directory)
        yield from (Path(directory, name) for name in files)


def _is_same(place: Path, source: Path) -> bool:
    try:
        return os.path.samestat(place.lstat(), source.stat())
    except FileNotFoundError:
        return False


def pack(source: Path, *, limit_bytes: int) -> bytes:
    """A tar archive of a directory's content, or of one file under its own name. Owners are kept as numbers.

    Raises SpecRefused beyond ``limit_bytes``, OSError if it cannot be read.
    """
    size = sum(information.st_size for _path, information in _walk(source) if stat.S_ISREG(information.st_mode))
    if size > limit_bytes:
        raise SpecRefused(
            f"volume {source} holds {size} bytes; volumes are copied into the machine, up to {limit_bytes} bytes"
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname="." if source.is_dir() else source.name, filter=_by_number)
    return buffer.getvalue()


def empty_directory(*, mode: int) -> bytes:
    """A tar archive of a directory with nothing in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        root = tarfile.TarInfo(".")
        root.type, root.mode = tarfile.DIRTYPE, mode
        archive.addfile(root)
    return buffer.getvalue()


def fingerprint(source: Path) -> Fingerprint:
    """Changes whenever the content does; empty if there is nothing at ``source``."""
    return tuple(
        (str(path), one.st_ino, one.st_mtime_ns, one.st_size, one.st_mode, one.st_uid, one.st_gid)
        for path, one in _walk(source)
    )


def _walk(source: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """``source`` (followed if it is a link) and everything below (links themselves), in a fixed order."""
    try:
        yield source, source.stat()
        entries = sorted(source.iterdir()) if source.is_dir() else []
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            information = entry.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(information.st_mode):
            yield from _walk(entry)
        else:
            yield entry, information


def _by_number(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uname = member.gname = ""
    return member if member.isreg() or member.isdir() or member.issym() or member.islnk() else None
