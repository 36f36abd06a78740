"""``hostPath``: a path of the node itself, checked or made as its ``type`` says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kontinuum.api.machinery.objects import Object
from kontinuum.node.volumes.context import CannotMount

CHECKS: dict[str, tuple[Callable[[Path], bool], str]] = {
    "Directory": (Path.is_dir, "is not a directory"),
    "File": (Path.is_file, "is not a file"),
    "Socket": (Path.is_socket, "is not a socket"),
    "CharDevice": (Path.is_char_device, "is not a character device"),
    "BlockDevice": (Path.is_block_device, "is not a block device"),
}


def prepare(source: Object) -> Path:
    """The path itself. Raises CannotMount if it is not what ``type`` says."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if kind:
        is_right, problem = CHECKS[kind]
        if not is_right(path):
            raise CannotMount(f"hostPath type check failed: {path} {problem}")
    return path
