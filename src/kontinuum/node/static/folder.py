"""The folder of static pods: which files are there, and what is in those that are new."""

from __future__ import annotations

from pathlib import Path

import structlog

from kontinuum.api.machinery.objects import Object
from kontinuum.node.static.manifest import BadManifest, read

log = structlog.get_logger(__name__)

LARGEST = 10 << 20
"""Bytes of a file that is read, as by the kubelet."""
Stamp = tuple[int, int, int]


class Folder:
    """``look`` answers the pods that the files describe now. What cannot be read or understood is told once."""

    def __init__(self, directory: Path, node: str) -> None:
        self._directory = directory
        self._node = node
        self._known: dict[Path, tuple[Stamp, Object | None]] = {}

    def look(self) -> list[Object]:
        """In the order of the files' names; of two pods of one name the first counts.

        Files and links to files only, and none whose name begins with a dot: editors leave those.
        """
        known: dict[Path, tuple[Stamp, Object | None]] = {}
        found: dict[tuple[str, str], Object] = {}
        for path, stamp in self._files():
            before = self._known.get(path)
            known[path] = before if before is not None and before[0] == stamp else (stamp, self._read(path))
            pod = known[path][1]
            if pod is None:
                continue
            key = pod["metadata"]["namespace"], pod["metadata"]["name"]
            if key in found and (before is None or before[0] != stamp):
                log.warning("a static pod is described twice", path=str(path), namespace=key[0], name=key[1])
            found.setdefault(key, pod)
        self._known = known
        return list(found.values())

    def _files(self) -> list[tuple[Path, Stamp]]:
        files = []
        try:
            names = sorted(path.name for path in self._directory.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            # The setting may name one file.
            names = [""]
        for name in names:
            path = self._directory / name
            if name.startswith("."):
                continue
            try:
                stat = path.stat()
            except OSError:
                continue
            if path.is_file():
                files.append((path, (stat.st_mtime_ns, stat.st_size, stat.st_ino)))
        return files

    def _read(self, path: Path) -> Object | None:
        try:
            if path.stat().st_size > LARGEST:
                raise BadManifest(f"it is larger than {LARGEST} bytes")
            return read(path.read_bytes(), str(path), self._node)
        except (BadManifest, OSError) as error:
            log.warning("a file of the static pods' folder is passed over", path=str(path), error=str(error))
            return None
