"""What is wrong with PersistentVolumeClaims and PersistentVolumes, and with changes of them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.claims import CLASS_ANNOTATION
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import IMMUTABLE, one_of, problems, same, unchanged
from kontinuum.api.kubernetes.validation.quantities import check_amount, is_native
from kontinuum.api.kubernetes.validation.scheduling import validate_node_selector, validate_selector
from kontinuum.api.kubernetes.validation.sources import validate_persistent_source
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
VOLUME_MODES = ("Block", "Filesystem")
# As types and validation have them since 1.31 (kubernetes/kubernetes#126108); the field's published description still
# says "Failed" where clients have to write "Infeasible".
RESIZE_STATES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip
POSITIVE = "must be greater than zero"
FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
# What a PersistentVolume's spec says beside where the storage is.
BESIDE_SOURCE = frozenset({
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
})  # fmt: skip
STABLE_KEYS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def validate_claim(spec: Object, path: str = "spec") -> list[FieldError]:
    modes = spec.get("accessModes") or []
    errors = [] if modes else [fields.required(f"{path}.accessModes", "at least 1 access mode is required")]
    errors += validate_selector(spec.get("selector") or {}, f"{path}.selector")
    errors += _access_modes(modes, f"{path}.accessModes")
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = f"{path}.resources[storage]"
    if amount is None:
        errors.append(fields.required(where))
    elif quantity.parse(amount) <= 0:
        errors.append(fields.invalid(where, amount, POSITIVE))
    errors += _class(spec.get("storageClassName"), f"{path}.storageClassName")
    errors += one_of(spec.get("volumeMode"), VOLUME_MODES, f"{path}.volumeMode", required=False)
    errors += _data_sources(spec, path)
    return errors + _class(spec.get("volumeAttributesClassName"), f"{path}.volumeAttributesClassName")


def validate_claim_change(claim: Object, old: Object) -> list[FieldError]:
    """A claim is fixed, but for its volume (set once), and its size and attributes once it is bound."""
    new, before = dict(claim["spec"]), dict(old["spec"])
    if not before.get("volumeName"):
        before["volumeName"] = new.get("volumeName")
    before["volumeAttributesClassName"] = new.get("volumeAttributesClassName")
    annotations, past = (one["metadata"].get("annotations") or {} for one in (claim, old))
    if annotations.get(CLASS_ANNOTATION, "") != past.get(CLASS_ANNOTATION, ""):
        where = f"metadata.annotations[{CLASS_ANNOTATION}]"
        errors = [fields.invalid(where, annotations.get(CLASS_ANNOTATION, ""), IMMUTABLE)]
    else:
        errors = []
    name = new.get("storageClassName")
    if name is not None and before.get("storageClassName") is None and past.get(CLASS_ANNOTATION, name) == name:
        before["storageClassName"] = name  # A claim that waited for a default class may be given it.
    if (claim.get("status") or {}).get("phase") == "Bound":
        new["resources"] = {**(new.get("resources") or {}), "requests": _with_size(new, before)}
    if not same(new, before):
        errors.append(fields.forbidden("spec", FIXED))
    errors += _size_change(claim, old)
    errors += unchanged(claim["spec"], old["spec"], "volumeMode", "volumeMode")
    return errors + _attributes_change(claim["spec"], old["spec"])


def _with_size(new: Object, before: Object) -> Object:
    requests = dict((new.get("resources") or {}).get("requests") or {})
    size = ((before.get("resources") or {}).get("requests") or {}).get("storage")
    return requests | ({"storage": size} if size is not None else {})


def _size_change(claim: Object, old: Object) -> list[FieldError]:
    """A request may shrink while it has not been granted, so that a failed growth can be taken back."""
    sizes = [((one["spec"].get("resources") or {}).get("requests") or {}).get("storage") for one in (claim, old)]
    new, before = (quantity.parse(size or 0) for size in sizes)
    granted = quantity.parse(((old.get("status") or {}).get("capacity") or {}).get("storage") or 0)
    if new < before and new <= granted:
        problem = "field can not be less than status.capacity"
        return [fields.forbidden("spec.resources.requests.storage", problem)]
    return []


def _attributes_change(spec: Object, old: Object) -> list[FieldError]:
    new, before = spec.get("volumeAttributesClassName"), old.get("volumeAttributesClassName")
    path = "spec.volumeAttributesClassName"
    if before is None or new == before:
        return []
    if new is None:
        return [fields.forbidden(path, "update from non-nil value to nil is forbidden")]
    return [] if new else [fields.forbidden(path, "update from non-nil value to an empty string is forbidden")]


def validate_claim_status(status: Object) -> list[FieldError]:
    errors = []
    for name, amount in (status.get("capacity") or {}).items():
        if quantity.parse(amount) < 0:
            problem = "must be a valid resource quantity"
            errors.append(fields.invalid(f"status.capacity[{name}]", quantity.value(amount), problem))
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        errors += _resource_key(name, "status.allocatedResourceStatus")
        if state not in RESIZE_STATES:
            errors.append(fields.not_supported("status.allocatedResourceStatus", name, RESIZE_STATES))
    for name, amount in (status.get("allocatedResources") or {}).items():
        wrong = _resource_key(name, "status.allocatedResources")
        errors += wrong or check_amount("storage", amount, f"status.allocatedResources[{name}]")
    return errors


def _resource_key(name: str, path: str) -> list[FieldError]:
    errors = problems(name, names.qualified_name(name), path)
    if not errors and is_native(name) and name != "storage":
        errors.append(fields.not_supported(path, name, ["storage"]))
    return errors


def _data_sources(spec: Object, path: str) -> list[FieldError]:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    errors = []
    for name, one in (("dataSource", source), ("dataSourceRef", reference)):
        errors += _data_source(one, f"{path}.{name}") if one is not None else []
    if reference is None or source is None:
        return errors
    if reference.get("namespace"):
        problem = "may not be specified when dataSourceRef.namespace is specified"
        errors.append(fields.invalid(path, f"{path}.dataSource", problem))
    elif any((source.get(name) or "") != (reference.get(name) or "") for name in ("apiGroup", "kind", "name")):
        errors.append(fields.invalid(path, f"{path}.dataSource", "must match dataSourceRef"))
    return errors


def _data_source(source: Object, path: str) -> list[FieldError]:
    errors = [fields.required(f"{path}.{name}") for name in ("name", "kind") if not source.get(name)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        problem = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(fields.invalid(path, kind, problem))
    errors += problems(group, names.dns_subdomain(group) if group else [], f"{path}.apiGroup")
    namespace = source.get("namespace") or ""
    return errors + problems(namespace, names.dns_label(namespace) if namespace else [], f"{path}.namespace")


def validate_volume(spec: Object) -> list[FieldError]:
    modes, capacity = spec.get("accessModes") or [], spec.get("capacity") or {}
    errors = [] if modes else [fields.required("spec.accessModes")]
    errors += _access_modes(modes, "spec.accessModes")
    errors += [] if capacity else [fields.required("spec.capacity")]
    if list(capacity) != ["storage"]:
        errors.append(fields.not_supported("spec.capacity", capacity, ["storage"]))
    for name, amount in capacity.items():
        if quantity.parse(amount) <= 0:
            errors.append(fields.invalid(f"spec.capacity[{name}]", amount, POSITIVE))
    policy = spec.get("persistentVolumeReclaimPolicy")
    errors += one_of(policy, RECLAIM_POLICIES, "spec.persistentVolumeReclaimPolicy", required=False)
    errors += _node_affinity(spec.get("nodeAffinity"))
    errors += validate_persistent_source(source_of(spec), "spec")
    if "local" in spec and spec.get("nodeAffinity") is None:
        errors.append(fields.required("spec.nodeAffinity", "Local volume requires node affinity"))
    host_path = (spec.get("hostPath") or {}).get("path")
    if host_path and posixpath.normpath(host_path) == "/" and policy == "Recycle":
        problem = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(fields.forbidden("spec.persistentVolumeReclaimPolicy", problem))
    errors += _class(spec.get("storageClassName"), "spec.storageClassName")
    errors += one_of(spec.get("volumeMode"), VOLUME_MODES, "spec.volumeMode", required=False)
    return errors + _volume_attributes(spec)


def validate_volume_change(spec: Object, old: Object) -> list[FieldError]:
    new, before = source_of(spec), source_of(old)
    if "csi" in new and "csi" in before and before["csi"].get("controllerExpandSecretRef") is None:
        new = {**new, "csi": {**new["csi"], "controllerExpandSecretRef": None}}
    errors = []
    if not same(new, before):
        problem = "spec.persistentvolumesource is immutable after creation"
        errors.append(fields.forbidden("spec.persistentvolumesource", problem))
    errors += unchanged(spec, old, "volumeMode", "volumeMode")
    affinity = old.get("nodeAffinity")
    if affinity is not None and not same(_stable(spec.get("nodeAffinity")), _stable(affinity)):
        problem = f"{IMMUTABLE}, except for updating from beta label to GA"
        errors.append(fields.invalid("nodeAffinity", spec.get("nodeAffinity"), problem))
    if old.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        problem = "update from non-nil value to nil is forbidden"
        errors.append(fields.forbidden("spec.volumeAttributesClassName", problem))
    return errors


def source_of(spec: Object) -> Object:
    """Where a PersistentVolume's storage is: the fields of its spec that are kinds of storage."""
    return {name: value for name, value in spec.items() if name not in BESIDE_SOURCE}


def _stable(value: Any) -> Any:
    """A node affinity with the labels that were beta under their stable names."""
    if isinstance(value, list):
        return [_stable(one) for one in value]
    if isinstance(value, dict):
        found = {key: _stable(one) for key, one in value.items()}
        return found | ({"key": STABLE_KEYS.get(found["key"], found["key"])} if "key" in found else {})
    return value


def _node_affinity(affinity: Object | None) -> list[FieldError]:
    if affinity is None:
        return []
    if affinity.get("required") is None:
        return [fields.required("spec.nodeAffinity.required", "must specify required node constraints")]
    return validate_node_selector(affinity["required"], "spec.nodeAffinity.required")


def _volume_attributes(spec: Object) -> list[FieldError]:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return []
    errors = _class(name, "spec.volumeAttributesClassName")
    if not name:
        errors.append(fields.required("spec.volumeAttributesClassName", "an empty string is disallowed"))
    if "csi" not in spec:
        problem = "has to be specified when using volumeAttributesClassName"
        errors.append(fields.required("spec.csi", problem))
    return errors


def _access_modes(modes: Sequence[str], path: str) -> list[FieldError]:
    errors = [fields.not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        errors.append(fields.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return errors


def _class(name: str | None, path: str) -> list[FieldError]:
    return problems(name, names.dns_subdomain(name), path) if name else []
