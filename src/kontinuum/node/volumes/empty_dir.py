"""``emptyDir``: a directory that lives as long as the pod, on disk or in memory."""

from __future__ import annotations

from pathlib import Path

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.node.volumes import mounts

MODE = 0o777


def prepare(source: Object, place: Path) -> None:
    """Make it at ``place``; one that is there already stays as it is."""
    place.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and not mounts.begins(place):
        limit = source.get("sizeLimit")
        mounts.mount_tmpfs(place, size=quantity.value(limit) if limit else 0, mode=MODE)
    place.chmod(MODE | (place.stat().st_mode & 0o2000))
