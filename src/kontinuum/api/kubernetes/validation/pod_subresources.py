"""What may be changed of a pod that exists, through paths of their own: its ephemeral containers and its resources."""

from __future__ import annotations

from kontinuum.api.kubernetes.qos import qos_class
from kontinuum.api.kubernetes.validation.containers import validate_ephemeral_containers
from kontinuum.api.kubernetes.validation.pods import validate_pod_spec
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MIRROR = "kubernetes.io/config.mirror"
RESIZABLE = ("cpu", "memory")


def validate_ephemeral_change(pod: Object, old: Object) -> list[FieldError]:
    """Kubernetes' ``ValidatePodEphemeralContainersUpdate``: what has been added stays as it is."""
    spec, path = pod["spec"], "spec.ephemeralContainers"
    if is_static(old):
        return [fields.forbidden("", "static pods do not support ephemeral containers")]
    errors = validate_ephemeral_containers(spec, "spec")
    new = {one.get("name"): one for one in spec.get("ephemeralContainers") or ()}
    for before in old["spec"].get("ephemeralContainers") or ():
        name = before.get("name")
        if name not in new:
            errors.append(fields.forbidden(path, f'existing ephemeral containers "{name}" may not be removed'))
        elif new[name] != before:
            errors.append(fields.forbidden(path, f'existing ephemeral containers "{name}" may not be changed'))
    return errors


def validate_resize(pod: Object, old: Object) -> list[FieldError]:
    """Kubernetes' ``ValidatePodResize``."""
    if is_static(old):
        return [fields.forbidden("", "static pods cannot be resized")]
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return [fields.forbidden("", "windows pods cannot be resized")]
    errors = validate_pod_spec(pod["spec"], "spec")
    if errors:
        return errors
    for group in ("containers", "initContainers"):
        errors += _resize_of_containers(pod["spec"].get(group) or [], old["spec"].get(group) or [], group)
    quality = qos_class(old["spec"])
    if quality != qos_class(pod["spec"]):
        errors.append(fields.invalid("spec", quality, "Pod QOS Class may not change as a result of resizing"))
    return errors


def is_static(pod: Object) -> bool:
    """It only shows what its node runs by itself."""
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _resize_of_containers(now: list[Object], before: list[Object], group: str) -> list[FieldError]:
    errors = []
    if len(now) != len(before):
        errors.append(fields.forbidden(f"spec.{group}", f"{group} may not be added or removed on resize"))
    for index, (new, old) in enumerate(zip(now, before, strict=False)):
        path = f"spec.{group}[{index}]"
        if new["name"] != old["name"]:
            errors.append(fields.forbidden(f"{path}.name", f"{group} may not be renamed or reordered on resize"))
        else:
            errors += _resources_change(new.get("resources") or {}, old.get("resources") or {}, f"{path}.resources")
    return errors


def _resources_change(now: Object, before: Object, path: str) -> list[FieldError]:
    errors = []
    for side in ("limits", "requests"):
        new, old = now.get(side) or {}, before.get(side) or {}
        if any(new.get(name) != old.get(name) for name in new.keys() | old.keys() if name not in RESIZABLE):
            errors.append(fields.forbidden(path, "only cpu and memory resources are mutable"))
            break
        if old.keys() - new.keys():
            errors.append(fields.forbidden(f"{path}.{side}", f"resource {side} cannot be removed"))
    return errors
