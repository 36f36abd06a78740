"""A claim's disk as its pod has it: files at a place of this machine, a block device, or told to the pod's machine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from kontinuum.foundation.files import replace_file
from kontinuum.node.volumes import growth, provisioned
from kontinuum.node.volumes.context import Context
from kontinuum.node.volumes.persistent import Disk


async def prepare(disk: Disk, context: Context, place: Path, group: int | None) -> Path:
    """Where the volume is: ``place``, or the device of a block volume.

    For a pod with a machine of its own ``place`` stands for the volume, and beside it is its description
    (``runtime.disk_volumes``). Raises what ``provisioned`` raises.
    """
    if disk.is_for_machine:
        description = place.with_name(f"{place.name}.disk")
        if description.exists():
            return place  # Its machine has it as it is: a disk that grew under it would grow for nobody.
        await _describe(disk, place, description, group)
    elif disk.is_block:
        provisioned.have_block(disk.place, disk.size_bytes)
        place = await asyncio.to_thread(provisioned.show_block, disk.place, place, disk.size_bytes)
    else:
        await provisioned.have(disk.place, disk.size_bytes, is_for_machine=False)
        await asyncio.to_thread(provisioned.show, disk.place, place, disk.size_bytes)
    news = growth.news(disk.claim, disk.volume)
    if news is not None and provisioned.has_size(disk.place, disk.size_bytes):
        await context.sources.tell_claim(disk.claim, news)
    return place


async def _describe(disk: Disk, place: Path, description: Path, group: int | None) -> None:
    words: dict[str, str | int] = {}
    if disk.is_block:
        words["image"] = str(provisioned.have_block(disk.place, disk.size_bytes))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    else:
        words["image"] = str(await provisioned.have(disk.place, disk.size_bytes, is_for_machine=True))
        words["fileSystem"] = provisioned.FILE_SYSTEM
        place.mkdir(parents=True, exist_ok=True)
        if group is not None:
            words["group"] = group
    replace_file(description, json.dumps(words))
