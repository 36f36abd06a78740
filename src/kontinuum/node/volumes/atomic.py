"""A directory of files that changes all at once (the layout of Kubernetes' AtomicWriter).

key        -> ..data/key            a link for every first path component
..data     -> ..2026_01_02_..       replaced by one rename: readers see all old files or all new ones
..2026_.../key                      the files
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from kontinuum.foundation.errors import Refused
from kontinuum.node.volumes.context import File, Files

DATA = "..data"


class BadPath(Refused):
    """A file's path would leave the volume."""


def write(directory: Path, files: Files, *, group: int | None = None) -> bool:
    """Make ``directory`` hold exactly ``files``; answers whether anything changed. ``group`` owns the files.

    Raises BadPath before anything is written.
    """
    for path in files:
        _check(path)
    if group is not None:
        # Group members must be able to read what fsGroup gives them.
        files = {path: File(file.content, file.mode | 0o040, file.owner) for path, file in files.items()}
    if _read(directory) == files:
        return False
    old = directory / DATA
    target = old.resolve() if old.is_symlink() else None
    fresh = directory / f"..{secrets.token_hex(8)}"
    fresh.mkdir()
    fresh.chmod(0o755)
    for path, file in files.items():
        _write_file(fresh, path, file, group)
    link = directory / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(old)
    _link_names(directory, {path.split("/")[0] for path in files})
    if target is not None and target.is_dir():
        shutil.rmtree(target)
    return True


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise BadPath(f"{path!r}: a file of a volume must have a relative path without '..'")


def _write_file(base: Path, path: str, file: File, group: int | None) -> None:
    target = base / path
    for parent in reversed(target.relative_to(base).parents[:-1]):
        (base / parent).mkdir(exist_ok=True)
    target.write_bytes(file.content)
    target.chmod(file.mode)
    if group is not None or file.owner is not None:
        os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _read(directory: Path) -> Files | None:
    """What is there now; None if nothing was ever written."""
    data = directory / DATA
    if not data.is_dir():
        return None
    base = data.resolve()
    return {str(path.relative_to(base)): _read_file(path) for path in base.rglob("*") if path.is_file()}


def _read_file(path: Path) -> File:
    found = path.stat()
    return File(path.read_bytes(), found.st_mode & 0o777, found.st_uid if found.st_uid != os.geteuid() else None)
