"""Disks for what containers write over their images: files with an ext4 file system, as empty as they come.

Each container has one of its own. It is named into the directory that containerd keeps for the container's writable
layer, where containerd counts what it takes, as of any container, and removes it with the container. Until then it has
no name at all: whoever is killed in between leaves nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from kontinuum.foundation import process, sparse
from kontinuum.foundation.files import name_when_written
from kontinuum.runtime.messages import Mount

BYTES = 64 << 30
"""Of each, nearly all of it a hole: more than a container writes before its node is in need, and evicts it."""
NAME = "kontinuum-layer.ext4"
_UPPER = "upperdir="
_MAKE_SECONDS = 120.0
# No journal: the layer ends with its machine. No copies of what describes it, and all of that in one place: as little
# as there can be to copy (132 KiB).
_OPTIONS = ("-m", "0", "-i", "32768", "-O", "^has_journal,^resize_inode,^64bit,^metadata_csum,uninit_bg,sparse_super2")
_EXTENDED = "num_backup_sb=0,packed_meta_blocks=1,lazy_itable_init=1"
_KIND = hashlib.sha256(repr((BYTES, _OPTIONS, _EXTENDED)).encode()).hexdigest()[:8]
_CANNOT_BE_NAMED = (errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP)


class Layers:
    """Makes them in ``directory``, which should be in the file system of containerd's snapshots."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def empty(self) -> Path:
        """What ``prepare`` makes; another one when what it is made by has changed."""
        return self._directory / f"empty-{_KIND}.ext4"

    async def prepare(self) -> None:
        """Make the empty file system of which all are copies. Idempotent.

        Raises process.ProgramFailed (a full disk), process.ProgramMissing (e2fsprogs), OSError.
        """
        if self.empty.exists():
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Two machines may start at the same time; whoever is done last gives its file the name once more.
        file, name = tempfile.mkstemp(dir=self._directory, prefix=f".{self.empty.name}.")
        unfinished = Path(name)
        try:
            with os.fdopen(file, "wb") as empty:
                empty.truncate(BYTES)
            await process.run("mkfs.ext4", "-q", "-F", *_OPTIONS, "-E", _EXTENDED, unfinished, timeout=_MAKE_SECONDS)
            name_when_written(unfinished, self.empty)
        finally:
            unfinished.unlink(missing_ok=True)

    def copy(self, source: Path) -> int:
        """A descriptor of a new file without a name that holds what ``source`` does. Raises OSError."""
        file = self._unnamed()
        try:
            with source.open("rb", buffering=0) as original:
                sparse.copy(original.fileno(), file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _unnamed(self) -> int:
        try:
            return os.open(self._directory, os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        # Some file systems have no such files. The name is nobody's: not that of one that was killed right here.
        file, name = tempfile.mkstemp(dir=self._directory, prefix=".")
        Path(name).unlink()
        return file


def file_of(rootfs: tuple[Mount, ...]) -> Path | None:
    """Where the disk of a container belongs whose root file system containerd describes by these mounts; None where
    containerd keeps no writable layer beside the image."""
    for mount in rootfs:
        for option in mount.options:
            if mount.type == "overlay" and option.startswith(_UPPER):
                return Path(option.removeprefix(_UPPER)) / NAME
    return None


def give_name(file: int, path: Path) -> bool:
    """Let a file without a name have this one. False if it must be copied: another file system. Raises OSError."""
    with suppress(FileNotFoundError):
        # Of a container that was created before, and did not come to be.
        path.unlink()
    try:
        # Python follows the link only if it is told of a directory, which does not matter for an absolute path.
        os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)
    except OSError as error:
        if error.errno not in _CANNOT_BE_NAMED:
            raise
        return False
    return True


def copy_to(source: int, path: Path) -> int:
    """A descriptor of the new file ``path``, a copy of the open file ``source``. Raises OSError."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        sparse.copy(source, file)
    except BaseException:
        os.close(file)
        path.unlink()
        raise
    return file
