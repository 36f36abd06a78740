"""What is wrong with storage, in a pod's volumes and behind PersistentVolumes alike: one function for each kind.

The fine print of what only a cloud provider's retired driver understood is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kontinuum.api.kubernetes.validation import names, paths
from kontinuum.api.kubernetes.validation.checks import problems
from kontinuum.api.kubernetes.validation.identifiers import csi_driver_name
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

Check = Callable[[Object, str], list[FieldError]]
"""Of one kind's fields, and where they stand."""
HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
REQUIRED = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "image": ("reference",),
    "local": ("path",),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "secret": ("secretName",),
    "vsphereVolume": ("volumePath",),
}
"""Fields without which a kind of storage says nothing."""


def validate_persistent_source(sources: Object, path: str) -> list[FieldError]:
    """The storage behind a PersistentVolume: kind → its fields, of which there must be exactly one."""
    return one_source({kind: source for kind, source in sources.items() if source is not None}, path, SOURCES)


def one_source(sources: Object, path: str, checks: Mapping[str, Check]) -> list[FieldError]:
    if not sources:
        return [fields.required(path, "must specify a volume type")]
    kind, *others = sources
    errors = [fields.forbidden(f"{path}.{one}", "may not specify more than 1 volume type") for one in others]
    source, here = sources[kind], f"{path}.{kind}"
    errors += [fields.required(f"{here}.{name}") for name in REQUIRED.get(kind, ()) if not source.get(name)]
    check = checks.get(kind)
    return errors + (check(source, here) if check else [])


def _host_path(source: Object, path: str) -> list[FieldError]:
    where, kind = source.get("path") or "", source.get("type")
    if not where:
        return [fields.required(f"{path}.path")]
    errors = paths.no_backsteps(where, f"{path}.path")
    if kind is not None and kind not in HOST_PATH_TYPES:
        errors.append(fields.not_supported(f"{path}.type", kind, HOST_PATH_TYPES))
    return errors


def _local(source: Object, path: str) -> list[FieldError]:
    return paths.no_backsteps(source.get("path") or "", f"{path}.path")


def _empty_dir(source: Object, path: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is None or quantity.parse(limit) >= 0:
        return []
    return [fields.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]


def _nfs(source: Object, path: str) -> list[FieldError]:
    where = source.get("path") or ""
    errors = [fields.required(f"{path}.{name}") for name in ("server", "path") if not source.get(name)]
    if where and not where.startswith("/"):
        errors.append(fields.invalid(f"{path}.path", where, "must be an absolute path"))
    return errors


def _iscsi(source: Object, path: str) -> list[FieldError]:
    name, unit = source.get("iqn") or "", source.get("lun") or 0
    errors = [fields.required(f"{path}.{one}") for one in ("targetPortal", "iqn") if not source.get(one)]
    if name and not name.startswith(("iqn", "eui", "naa")):
        errors.append(fields.invalid(f"{path}.iqn", name, "must be valid format starting with iqn, eui, or naa"))
    if not 0 <= unit <= 255:
        errors.append(fields.invalid(f"{path}.lun", unit, "must be between 0 and 255, inclusive"))
    return errors


def _fibre(source: Object, path: str) -> list[FieldError]:
    targets, names_of = source.get("targetWWNs") or [], source.get("wwids") or []
    if not targets and not names_of:
        problem = "must specify either targetWWNs or wwids, but not both"
        return [fields.required(f"{path}.targetWWNs", problem)]
    if targets and names_of:
        problem = "targetWWNs and wwids can not be specified simultaneously"
        return [fields.invalid(f"{path}.targetWWNs", targets, problem)]
    unit: Any = source.get("lun")
    if targets and unit is None:
        return [fields.required(f"{path}.lun", "lun is required if targetWWNs is specified")]
    if unit is not None and not 0 <= unit <= 255:
        return [fields.invalid(f"{path}.lun", unit, "must be between 0 and 255, inclusive")]
    return []


def _csi(source: Object, path: str) -> list[FieldError]:
    """The fields of a pod's own CSI volume, or of a PersistentVolume's, which has a handle besides."""
    errors = csi_driver_name(source.get("driver") or "", f"{path}.driver")
    is_persistent = path == "spec.csi"
    if is_persistent and not source.get("volumeHandle"):
        errors.append(fields.required(f"{path}.volumeHandle"))
    references = [name for name in source if name.endswith("SecretRef")]
    for name in references:
        reference, where = source[name] or {}, f"{path}.{name}"
        needed = ("name", "namespace") if is_persistent else ("name",)
        errors += [fields.required(f"{where}.{one}") for one in needed if not reference.get(one)]
    return errors


def _claim(source: Object, path: str) -> list[FieldError]:
    name = source.get("claimName") or ""
    return problems(name, names.dns_subdomain(name) if name else [], f"{path}.claimName")


SOURCES: dict[str, Check] = {
    "csi": _csi,
    "emptyDir": _empty_dir,
    "fc": _fibre,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
}
