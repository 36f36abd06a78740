"""What is wrong with a pod's volumes: files from the API, claims, and storage of its own (see ``sources``)."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import paths
from kontinuum.api.kubernetes.validation.claims import validate_claim
from kontinuum.api.kubernetes.validation.containers import named, validate_field_path, validate_resource_field
from kontinuum.api.kubernetes.validation.sources import SOURCES, Check, one_source
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MODE = "must be a number between 0 and 0777 (octal), both inclusive"
FIELD_PATHS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
"""More than in a container's environment, where maps have no place: a volume can show all labels and annotations."""


def validate_volumes(volumes: Sequence[Object], path: str) -> list[FieldError]:
    """``spec.volumes`` of a pod."""
    errors = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        name = volume.get("name", "")
        errors += named(name, f"{here}.name")
        if name in seen:
            errors.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
        sources = {kind: source for kind, source in volume.items() if kind != "name" and source is not None}
        errors += one_source(sources, here, CHECKS)
    return errors


def _files(source: Object, path: str) -> list[FieldError]:
    """ConfigMaps, Secrets and downward API: which keys become which files, with which mode."""
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    keyed = not path.endswith(".downwardAPI")
    for index, item in enumerate(source.get("items") or ()):
        errors += _item(item, f"{path}.items[{index}]", keyed=keyed)
    return errors


def _config_map(source: Object, path: str) -> list[FieldError]:
    return ([] if source.get("name") else [fields.required(f"{path}.name")]) + _files(source, path)


def _mode(mode: int | None, path: str) -> list[FieldError]:
    return [] if mode is None or 0 <= mode <= 0o777 else [fields.invalid(path, mode, MODE)]


def _item(item: Object, path: str, *, keyed: bool) -> list[FieldError]:
    errors = [fields.required(f"{path}.key")] if keyed and not item.get("key") else []
    errors += paths.of_file(item.get("path", ""), f"{path}.path")
    if not keyed:
        errors += _downward(item, path)
    return errors + _mode(item.get("mode"), f"{path}.mode")


def _downward(item: Object, path: str) -> list[FieldError]:
    field, amount = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        errors = validate_field_path(field, f"{path}.fieldRef", FIELD_PATHS)
        if amount is not None:
            problem = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(fields.invalid(path, "resource", problem))
        return errors
    if amount is None:
        return [fields.required(path, "one of fieldRef and resourceFieldRef is required")]
    where = f"{path}.resourceFieldRef"
    if not amount.get("containerName"):
        return [fields.required(f"{where}.containerName")]
    return validate_resource_field(amount, where)


def _ephemeral(source: Object, path: str) -> list[FieldError]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [fields.required(f"{path}.volumeClaimTemplate")]
    return validate_claim(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec")


def _projected(source: Object, path: str) -> list[FieldError]:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    taken: dict[str, str] = {}
    for index, projection in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{index}]"
        present = [kind for kind, value in projection.items() if value is not None]
        if not present:
            problem = (
                "must specify at least one of: `secret`, `configMap`, `downwardAPI`, `serviceAccountToken`, "
                "`clusterTrustBundle`, `podCertificate`"
            )
            errors.append(fields.required(here, problem))
        errors += [fields.forbidden(f"{here}.{one}", "may not specify more than 1 volume type") for one in present[1:]]
        if present:
            errors += _projection(present[0], projection[present[0]], f"{here}.{present[0]}")
            errors += _conflicts(projection[present[0]], taken, path)
    return errors


def _projection(kind: str, source: Object, path: str) -> list[FieldError]:
    if kind == "serviceAccountToken":
        return _token(source, path)
    if kind in ("configMap", "secret") and not source.get("name"):
        return [fields.required(f"{path}.name")]
    return _files(source, path) if kind in ("configMap", "secret", "downwardAPI") else []


def _token(source: Object, path: str) -> list[FieldError]:
    seconds, where = source.get("expirationSeconds") or 0, f"{path}.expirationSeconds"
    errors = []
    if seconds < 600:
        errors.append(fields.invalid(where, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 2**32:
        errors.append(fields.invalid(where, seconds, "may not specify a duration larger than 2^32 seconds"))
    if not source.get("path"):
        return [*errors, fields.required(f"{path}.path")]
    return errors + paths.of_file(source["path"], f"{path}.path")


def _conflicts(source: Object, taken: dict[str, str], path: str) -> list[FieldError]:
    """Two projections may not write one file."""
    errors = []
    paths = [item.get("path", "") for item in source.get("items") or ()]
    paths += [source["path"]] if isinstance(source.get("path"), str) else []
    for one in paths:
        if one in taken:
            errors.append(fields.invalid(path, source.get("name", ""), f"conflicting duplicate paths: {one}"))
        taken[one] = path
    return errors


CHECKS: dict[str, Check] = {
    **SOURCES,
    "configMap": _config_map,
    "downwardAPI": _files,
    "ephemeral": _ephemeral,
    "projected": _projected,
    "secret": _files,
}
