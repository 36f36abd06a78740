"""An ``emptyDir`` on disk for a pod with a kernel of its own: an image with a file system, which its machine mounts.

    volumes/NAME         stands for the volume, and stays empty
    volumes/NAME.image   the disk, which takes of the node's what is written to it, and gives back what is deleted
    volumes/NAME.disk    its description, for the runtime (``runtime.disk_volumes``)

It is a copy of an empty file system that is made once for each size: a copy is a hundredth of what making it costs. The
disk is larger than the volume's limit: who goes beyond that is evicted, as in every class, and not told of a full disk.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation import process, sparse
from kontinuum.foundation.files import name_when_written, replace_file
from kontinuum.node import cgroups
from kontinuum.node.usage.values import Disk

FILE_SYSTEM = "ext4"
LEAST_BYTES = 64 << 20
JOURNAL_BYTES = 4 << 20
"""As little as ext4 takes. With a journal the files outlive a machine that dies, as they outlive a container."""
BYTES_PER_INODE = 16 << 10
MAKE_SECONDS = 120.0
BLOCK = 512
"""The unit of ``st_blocks``."""
_FOR_EVERYBODY = b"rmdir lost+found\nset_inode_field / mode 040777\n"


class Scratch:
    """Makes them; ``templates`` is where the empty file systems are kept."""

    def __init__(self, templates: Path, *, usual_bytes: int) -> None:
        self._templates = templates
        self._usual_bytes = usual_bytes
        # Two pods that begin at once must not both make the template that they need.
        self._lock = asyncio.Lock()

    async def prepare(self, pod: Object, source: Object, place: Path, group: int | None) -> None:
        """Have it at ``place``; one that is there already stays as it is.

        Raises process.ProgramFailed (a full disk), process.ProgramMissing (e2fsprogs), OSError.
        """
        description = place.with_name(f"{place.name}.disk")
        if description.exists():
            return
        template = await self._template(size_for(pod, source, usual_bytes=self._usual_bytes))
        place.mkdir(parents=True, exist_ok=True)
        image = image_of(place)
        await asyncio.to_thread(copy, template, image)
        words = {"image": str(image), "fileSystem": FILE_SYSTEM, "empty": when_empty(image)}
        replace_file(description, json.dumps(words if group is None else {**words, "group": group}))

    async def _template(self, size: int) -> Path:
        template = self._templates / f"{FILE_SYSTEM}-{size}"
        async with self._lock:
            if not template.exists():
                await _make(template, size)
        return template


def image_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.image")


def taken(place: Path) -> Disk | None:
    """What the pod has written to the volume at ``place``; None if it is no such disk. Its files are counted by nobody:
    only the machine could say how many they are. See ``when_empty`` for what is missing.
    """
    try:
        empty = json.loads(place.with_name(f"{place.name}.disk").read_text())["empty"]
        return Disk(max(0, allocated(image_of(place)) - empty), 1)
    except (OSError, ValueError, KeyError):
        return None


def size_for(pod: Object, source: Object, *, usual_bytes: int) -> int:
    """The disk's size in bytes, a power of two, so that there are few templates: room for twice of what is allowed."""
    limit = quantity.value(source["sizeLimit"]) if source.get("sizeLimit") else 0
    limit = limit or cgroups.pod_total(pod, "limits", "ephemeral-storage")
    return 1 << (max(2 * limit if limit else usual_bytes, LEAST_BYTES) - 1).bit_length()


def allocated(image: Path) -> int:
    return image.stat().st_blocks * BLOCK


def when_empty(image: Path) -> int:
    """What a fresh image takes of the host's disk, in bytes, once its journal has been used.

    ``mkfs.ext4`` writes the journal out, or leaves a hole where that is the same: then as much as the journal may take
    yet is not counted. To count it would evict who has written nothing.
    """
    now = allocated(image)
    return now if now >= JOURNAL_BYTES else now + JOURNAL_BYTES


def copy(template: Path, image: Path) -> None:
    """What is not there takes no space, nor time. Whole or not at all."""
    unfinished = image.with_name(f".{image.name}")
    with template.open("rb", buffering=0) as source, unfinished.open("wb", buffering=0) as target:
        sparse.copy(source.fileno(), target.fileno())
    unfinished.rename(image)


async def _make(template: Path, size: int) -> None:
    template.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = template.with_name(f".{template.name}")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        file.truncate(size)
    options = ["-m", "0", "-J", f"size={JOURNAL_BYTES >> 20}", "-E", "lazy_journal_init=0", "-i", str(BYTES_PER_INODE)]
    await process.run("mkfs.ext4", "-q", "-F", *options, unfinished, timeout=MAKE_SECONDS)
    await process.run("debugfs", "-w", "-f", "-", unfinished, stdin=_FOR_EVERYBODY, timeout=MAKE_SECONDS)
    name_when_written(unfinished, template)
