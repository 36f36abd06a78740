"""Volumes that are disks: an image with a file system in it, which the machine that uses it mounts itself.

What is written to such a volume is on the host's disk when the guest's kernel says that it is, and one machine at a
time has it. A node agent describes the volume in a file beside its (empty) directory, for ``pods/UID/volumes/NAME``
in ``pods/UID/volumes/NAME.disk``:

    {"image": "/path/of/the/image", "fileSystem": "ext4", "group": 2000}

``group`` is Kubernetes' ``fsGroup`` and may be absent. Without ``fileSystem`` the containers get the disk itself, as a
block device where they mount the volume. Volume names are DNS labels, so that no volume is called so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from kontinuum.runtime.oci import SpecRefused

SUFFIX = ".disk"


@dataclass(frozen=True, slots=True)
class DiskVolume:
    """What the description says."""

    image: Path
    file_system: str
    """"" for a block device."""
    group: int | None


def described(volume: Path) -> DiskVolume | None:
    """The disk behind a volume's directory; None if it is an ordinary directory. Raises SpecRefused."""
    path = volume.with_name(volume.name + SUFFIX)
    try:
        said = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise SpecRefused(f"volume {volume}: its description {path} cannot be read: {error}") from error
    try:
        group = said.get("group")
        return DiskVolume(Path(said["image"]), str(said.get("fileSystem", "")), None if group is None else int(group))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpecRefused(f"volume {volume}: {path} does not describe a disk: {error!r}") from error
