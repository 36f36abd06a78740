"""Files that are either the old ones or the new ones, never something in between, even after a power cut."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_atomic(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``, durably: readers see the old file or the new one, whole, with ``mode``.

    The directory must exist. Raises OSError (and leaves the old file) when the disk is full.
    """
    _replace(path, content, mode=mode, durable=True)


def replace_file(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """``write_atomic`` for what need not survive a power cut (state on a tmpfs): nothing waits for a disk."""
    _replace(path, content, mode=mode, durable=False)


def _replace(path: Path, content: bytes | str, *, mode: int, durable: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # The mode is given at creation: a secret is never readable to others, not even for an instant.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # against a careless umask
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_directory(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def write_if_changed(path: Path, content: bytes | str, *, mode: int = 0o644) -> bool:
    """``write_atomic`` unless ``path`` holds ``content`` already. Returns whether it wrote."""
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, data, mode=mode)
    return True


def rename_durably(source: Path, target: Path) -> None:
    """Rename within one file system so that the new name survives a power cut."""
    source.replace(target)
    sync_directory(target.parent)


def name_when_written(unfinished: Path, name: Path) -> None:
    """Rename a file that a program has made, once its content is on the disk: a power cut leaves it whole or nameless.

    File systems may keep a new name before what it names. Raises OSError.
    """
    descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(name)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, mode: int = 0o755) -> Path:
    """Create ``path`` and its parents where missing, set ``mode`` on it, and return it."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)
    return path
