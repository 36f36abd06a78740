"""A pod's volumes as a whole: set up before the sandbox, refreshed while it lives, removed after it."""

from __future__ import annotations

import shutil
from pathlib import Path

from kontinuum.api.kubernetes.claims import claimed_volumes
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import KontinuumError
from kontinuum.node import pods
from kontinuum.node.abilities import MACHINES
from kontinuum.node.volumes import (
    atomic,
    config_map,
    disk,
    downward_api,
    empty_dir,
    host_path,
    mounts,
    ownership,
    persistent,
    projected,
    secret,
)
from kontinuum.node.volumes.context import CannotMount, Context, UnsupportedVolume

OF_FILES = {
    "configMap": config_map.files,
    "secret": secret.files,
    "downwardAPI": downward_api.files,
    "projected": projected.files,
}
CLAIMED = ("persistentVolumeClaim", "ephemeral")
IN_MEMORY = ("secret", "projected")
"""Types that may hold secrets: their files never touch a disk."""


def place_of(pod_directory: Path, volume: Object) -> Path:
    return volumes_below(pod_directory) / str(volume["name"])


def volumes_below(pod_directory: Path) -> Path:
    return pod_directory / "volumes"


async def prepare(context: Context, pod_directory: Path) -> dict[str, Path]:
    """Set up every volume that a container uses; answers where each is here. Repeating it refreshes the files.

    What nobody uses is left alone, and keeps no pod waiting, as under a kubelet.

    Raises CannotMount, its message in the kubelet's words.
    """
    places: dict[str, Path] = {}
    used = pods.used_volumes(context.pod)
    for volume in context.pod["spec"].get("volumes") or ():
        if volume["name"] not in used:
            continue
        try:
            places[volume["name"]] = await _prepare_one(volume, context, place_of(pod_directory, volume))
        except (KontinuumError, OSError) as error:
            raise CannotMount(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
    return places


def may_change(pod: Object) -> bool:
    """Whether the pod has a volume that wants refreshing: of files, or one that may grow."""
    return any(kind in volume for volume in pod["spec"].get("volumes") or () for kind in (*OF_FILES, *CLAIMED))


async def _prepare_one(volume: Object, context: Context, place: Path) -> Path:
    security = context.pod["spec"].get("securityContext") or {}
    group, given = security.get("fsGroup"), place.with_name(f"{place.name}.given")
    kind = next((key for key in volume if key != "name"), "emptyDir")
    source = volume.get(kind) or {}
    if kind == "hostPath":
        return host_path.prepare(source)
    if kind in CLAIMED:
        claimed = {one.volume: one for one in claimed_volumes(context.pod)}[volume["name"]]
        found = await persistent.find(claimed.claim, context, is_ephemeral=claimed.is_ephemeral)
        if isinstance(found, persistent.Disk):
            place = await disk.prepare(found, context, place, group)
            if found.is_for_machine or found.is_block:
                return place
        elif found.takes_group:
            place = found.path
        else:
            return found.path
    elif kind == "emptyDir":
        handler = await context.sources.handler(pods.isolation_class(context.pod))
        if handler in MACHINES and not source.get("medium"):
            await context.scratch.prepare(context.pod, source, place, group)
            return place
        empty_dir.prepare(source, place)
    elif kind == "image":
        # Nobody's to change, whatever group the pod has.
        await context.images.show(context.pod, volume, place)
        return place
    elif kind in OF_FILES:
        files = await OF_FILES[kind](source, context)
        place.mkdir(parents=True, exist_ok=True)
        if kind in IN_MEMORY and not mounts.begins(place):
            mounts.mount_tmpfs(place)
        atomic.write(place, files, group=group)
    else:
        raise UnsupportedVolume(f"volumes of type {kind} are not supported on this node")
    if group is not None and kind in OF_FILES:
        ownership.give_one(place, group)
    elif group is not None and not given.exists():
        # When the pod begins, not with each of its containers.
        ownership.give(place, group, only_on_mismatch=security.get("fsGroupChangePolicy") == "OnRootMismatch")
        given.parent.mkdir(parents=True, exist_ok=True)
        given.touch()
    return place


def remove(directory: Path) -> None:
    """Unmount and delete everything of a pod that is gone. Raises OSError if something cannot be unmounted."""
    for point in mounts.below(directory):
        mounts.unmount(point)
    if directory.exists():
        shutil.rmtree(directory)
