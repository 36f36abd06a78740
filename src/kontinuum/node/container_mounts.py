"""Which paths of this machine a container sees, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kontinuum.api.cri.messages import NUMBERS
from kontinuum.api.machinery.objects import Object
from kontinuum.foundation.errors import Refused
from kontinuum.node.environment import expand, references
from kontinuum.node.port import Config

PROPAGATION = {
    "None": "PROPAGATION_PRIVATE",
    "HostToContainer": "PROPAGATION_HOST_TO_CONTAINER",
    "Bidirectional": "PROPAGATION_BIDIRECTIONAL",
}
DEEP = ("Enabled", "IfPossible")
HOSTS_PATH = "/etc/hosts"
ONLY_READ = ("configMap", "secret", "downwardAPI", "projected", "image")
"""Volumes that containers only read, whatever their mounts say: what they wrote would be lost at the next update, or
be in everybody's image."""


class BadMount(Refused):
    """A mount names a volume that does not exist, a subPath that leaves its volume, or what the runtime cannot do."""


def volume_mounts(
    container: Object,
    volumes: Iterable[Object],
    places: Mapping[str, Path],
    environment: Mapping[str, str],
    *,
    can_be_deep: bool = False,
) -> list[Config]:
    """The CRI's mounts for ``volumeMounts`` of the pod's ``volumes``; ``places`` says where each volume is.

    ``can_be_deep``: whether the runtime can make read-only what lies below a mount (KEP-3857).
    """
    mounts = []
    only_read = {volume["name"] for volume in volumes if _is_only_read(volume)}
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in places:
            raise BadMount(f'volume "{mount["name"]}" of container "{container["name"]}" does not exist')
        if mount.get("recursiveReadOnly") == "Enabled" and not can_be_deep:
            where = f'volume "{mount["name"]}" of container "{container["name"]}"'
            raise BadMount(f"recursiveReadOnly: Enabled of {where} is not supported by the container runtime")
        sub_path = mount.get("subPath") or _expanded(mount.get("subPathExpr") or "", environment)
        mounts.append(
            {
                "container_path": _absolute(mount["mountPath"]),
                "host_path": str(below(places[mount["name"]], sub_path)),
                "readonly": bool(mount.get("readOnly")) or mount["name"] in only_read,
                "propagation": NUMBERS[PROPAGATION[mount.get("mountPropagation") or "None"]],
                "recursive_read_only": can_be_deep and mount.get("recursiveReadOnly") in DEEP,
            }
        )
    return mounts


def volume_devices(
    container: Object, volumes: Iterable[Object], places: Mapping[str, Path]
) -> tuple[list[Config], list[Config]]:
    """The CRI's devices and mounts for ``volumeDevices``: a machine is told of its disks as of directories."""
    devices, mounts = [], []
    only_read = {volume["name"] for volume in volumes if _is_only_read(volume)}
    for device in container.get("volumeDevices") or ():
        if device["name"] not in places:
            raise BadMount(f'volume "{device["name"]}" of container "{container["name"]}" does not exist')
        place, is_read = places[device["name"]], device["name"] in only_read
        where = {"container_path": device["devicePath"], "host_path": str(place)}
        if place.is_block_device():
            devices.append({**where, "permissions": "mr" if is_read else "mrw"})
        else:
            mounts.append({**where, "readonly": is_read})
    return devices, mounts


def _is_only_read(volume: Object) -> bool:
    claimed = (volume.get("persistentVolumeClaim") or {}).get("readOnly")
    return bool(claimed) or any(kind in volume for kind in ONLY_READ)


def _expanded(expression: str, environment: Mapping[str, str]) -> str:
    """``subPathExpr``, of which every variable must have a value. Raises BadMount."""
    missing = [name for name in references(expression) if not environment.get(name)]
    if missing:
        raise BadMount(f"missing value for {', '.join(missing)}")
    return expand(expression, environment)


def below(volume: Path, sub_path: str) -> Path:
    """The path ``sub_path`` in ``volume``, made as a directory if it is absent.

    Links are followed before the container runs, and may not lead out of the volume. Raises BadMount.
    """
    if not sub_path:
        return volume
    if sub_path.startswith("/"):
        raise BadMount(f"error SubPath `{sub_path}` must not be an absolute path")
    if ".." in sub_path.split("/"):
        raise BadMount(f"unable to provision SubPath `{sub_path}`: must not contain '..'")
    base = volume.resolve()
    target = (base / sub_path).resolve()
    if not target.is_relative_to(base):
        raise BadMount(f"subPath {sub_path!r} leads out of its volume")
    missing = [one for one in (target, *target.parents) if one.is_relative_to(base) and not one.exists()]
    for one in reversed(missing):
        one.mkdir()
        # Whoever may write into the volume may write into its part.
        one.chmod(base.stat().st_mode & 0o7777)
    return target


def own_file(container_path: str, host_path: Path) -> Config:
    """A mount of one file that the agent keeps for the container."""
    return {"container_path": container_path, "host_path": str(host_path)}


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"
