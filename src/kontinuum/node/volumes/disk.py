"""A claim's disk as its pod has it: files at a place of this machine, a block device, or told to the pod's machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from kontinuum.api.machinery.objects import name_of
from kontinuum.foundation.files import replace_file
from kontinuum.node.volumes import growth, provisioned
from kontinuum.node.volumes.context import Context
from kontinuum.node.volumes.persistent import Disk
from kontinuum.node.volumes.provisioned import NotEnlarged


async def prepare(disk: Disk, context: Context, place: Path, group: int | None) -> Path:
    """Where the volume is: ``place``, or the device of a block volume.

    For a pod with a machine of its own ``place`` stands for the volume, and beside it is its description
    (``runtime.disk_volumes``). Raises what ``provisioned`` raises.
    """
    if disk.is_for_machine:
        problem = await _prepare_for_machine(disk, context, place, group)
    elif disk.is_block:
        provisioned.have_block(disk.place, disk.size_bytes)
        place = await asyncio.to_thread(provisioned.show_block, disk.place, place)
        problem = await _grow(provisioned.grow_block, disk)
    else:
        problem = await _show(disk, place)
    await _tell(disk, context, problem)
    return place


async def _prepare_for_machine(disk: Disk, context: Context, place: Path, group: int | None) -> NotEnlarged | None:
    """Answers why the machine's kernel does not enlarge the volume, when the pod begins, and until its claim knows."""
    description = place.with_name(f"{place.name}.disk")
    begins = not description.exists()
    if begins:
        await _describe(disk, place, description, group)
    else:
        # The pod may still wait for the disk, which somebody else had when it was described.
        provisioned.lengthen(disk.place, disk.size_bytes)
    problem = None if disk.is_block else await asyncio.to_thread(provisioned.refusal, disk.place)
    if problem is None or begins or growth.bad_news(disk.claim, str(problem), context.now) is not None:
        return problem
    return None


async def _show(disk: Disk, place: Path) -> NotEnlarged | None:
    """Answers why the volume could not be enlarged. It is shown all the same: whoever has it keeps it as it was."""
    problem = None
    try:
        await provisioned.have(disk.place, disk.size_bytes, is_for_machine=False)
    except NotEnlarged as error:
        problem = error
    await asyncio.to_thread(provisioned.show, disk.place, place)
    return await _grow(provisioned.grow, disk) or problem


async def _grow(grow: Callable[[Path, int], None], disk: Disk) -> NotEnlarged | None:
    """Answers why it was in vain."""
    try:
        await asyncio.to_thread(grow, disk.place, disk.size_bytes)
    except NotEnlarged as error:
        return error
    return None


async def _tell(disk: Disk, context: Context, problem: NotEnlarged | None) -> None:
    """The claim is told of its new capacity when it has it, and why it has not, as the pod is."""
    if problem is not None:
        text = f'NodeExpandVolume failed for volume "{name_of(disk.volume)}" : {problem}'
        context.tell("Warning", "VolumeResizeFailed", text)
    news = growth.news(disk.claim, disk.volume)
    if news is None:
        return
    has_grown = provisioned.has_size(disk.place, disk.size_bytes) and (
        disk.is_block or await asyncio.to_thread(provisioned.is_filled, disk.place)
    )
    if not has_grown:
        news = growth.bad_news(disk.claim, str(problem), context.now) if problem is not None else None
    if news is not None:
        await context.sources.tell_claim(disk.claim, news)


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
