"""What is wrong with a pod's volumes. The fine print of each cloud's own source is left to its driver."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation.containers import named
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MODE = "must be a number between 0 and 0777 (octal), both inclusive"
REQUIRED = {
    "hostPath": "path",
    "secret": "secretName",
    "configMap": "name",
    "persistentVolumeClaim": "claimName",
    "csi": "driver",
    "ephemeral": "volumeClaimTemplate",
}


def validate_volumes(volumes: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        name = volume.get("name", "")
        errors += named(name, f"{here}.name")
        if name in seen:
            errors.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
        errors += _source(volume, here)
    return errors


def _source(volume: Object, path: str) -> list[FieldError]:
    sources = [name for name in volume if name != "name"]
    if not sources:
        return [fields.required(path, "must specify a volume type")]
    errors = [fields.forbidden(f"{path}.{one}", "may not specify more than 1 volume type") for one in sources[1:]]
    kind = sources[0]
    source, here = volume[kind], f"{path}.{kind}"
    needed = REQUIRED.get(kind)
    if needed and not source.get(needed):
        errors.append(fields.required(f"{here}.{needed}"))
    mode = source.get("defaultMode", 0)
    if not 0 <= mode <= 0o777:
        errors.append(fields.invalid(f"{here}.defaultMode", mode, MODE))
    for index, item in enumerate(source.get("items") or ()):
        errors += _item(item, f"{here}.items[{index}]", keyed=kind in ("secret", "configMap"))
    return errors


def _item(item: Object, path: str, *, keyed: bool) -> list[FieldError]:
    errors = [fields.required(f"{path}.key")] if keyed and not item.get("key") else []
    where = item.get("path", "")
    if not where:
        errors.append(fields.required(f"{path}.path"))
    elif where.startswith("/"):
        errors.append(fields.invalid(f"{path}.path", where, "must be a relative path"))
    if ".." in where.split("/"):
        errors.append(fields.invalid(f"{path}.path", where, "must not contain '..'"))
    mode = item.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        errors.append(fields.invalid(f"{path}.mode", mode, MODE))
    return errors
