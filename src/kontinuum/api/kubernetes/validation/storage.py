"""What is wrong with the kinds of storage.k8s.io."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import identifiers, names
from kontinuum.api.kubernetes.validation.identifiers import check
from kontinuum.api.kubernetes.validation.metadata import check_label_key
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

IMMUTABLE = "field is immutable"
MOST_PARAMETERS, PARAMETER_BYTES = 512, 256 * 1024
METADATA_BYTES, ERROR_BYTES = 256 * 1024, 1024
NODE_ID_LENGTH = 256
FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLE_MODES = ("Persistent", "Ephemeral")
LEAST_SECONDS, MOST_SECONDS = 600, 2**32


def validate_storage_class(obj: Object) -> list[FieldError]:
    errors = _provisioner(obj.get("provisioner", ""), "provisioner")
    errors += _parameters(obj.get("parameters") or {}, "parameters")
    for field, supported in (
        ("reclaimPolicy", ("Delete", "Retain")),
        ("volumeBindingMode", ("Immediate", "WaitForFirstConsumer")),
    ):
        value = obj.get(field, "")
        if value not in supported and (value or field == "volumeBindingMode"):
            errors.append(fields.not_supported(field, value, supported))
    return errors + _topologies(obj.get("allowedTopologies") or [])


def validate_storage_class_change(obj: Object, old: Object) -> list[FieldError]:
    errors = forbidden_changes(obj, old, "parameters", "provisioner", "reclaimPolicy")
    mode = obj.get("volumeBindingMode")
    if mode != old.get("volumeBindingMode"):
        errors.append(fields.invalid("volumeBindingMode", mode, IMMUTABLE))
    return errors


def forbidden_changes(obj: Object, old: Object, *names_of_fields: str) -> list[FieldError]:
    return [
        fields.forbidden(field, f"updates to {field} are forbidden.")
        for field in names_of_fields
        if (obj.get(field) or None) != (old.get(field) or None)
    ]


def validate_attributes_class(obj: Object) -> list[FieldError]:
    parameters = obj.get("parameters") or {}
    errors = _provisioner(obj.get("driverName", ""), "driverName") + _parameters(parameters, "parameters")
    if not parameters:
        errors.append(fields.required("parameters", "must contain at least one key/value pair"))
    return errors


def _provisioner(name: str, path: str) -> list[FieldError]:
    return check(name, names.qualified_name(name.lower()), path) if name else [fields.required(path)]


def _parameters(parameters: Object, path: str) -> list[FieldError]:
    if len(parameters) > MOST_PARAMETERS:
        return [fields.too_long(path, MOST_PARAMETERS)]
    errors = [fields.invalid(path, "", "field can not be empty.")] if "" in parameters else []
    return errors + _size(parameters, PARAMETER_BYTES, path)


def _size(values: Object, most: int, path: str) -> list[FieldError]:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in values.items())
    return [fields.too_long(path, most)] if size > most else []


def _topologies(terms: Sequence[Object]) -> list[FieldError]:
    errors = []
    seen: list[dict[str, set[str]]] = []
    for index, term in enumerate(terms):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        found: dict[str, set[str]] = {}
        for at, one in enumerate(term.get("matchLabelExpressions") or ()):
            here = f"{path}[{at}]"
            key, values = one.get("key", ""), one.get("values") or []
            errors += [] if values else [fields.required(f"{here}.values")]
            for number, value in enumerate(values):
                if value in values[:number]:
                    errors.append(fields.duplicate(f"{here}.values[{number}]", value))
            errors += check_label_key(key, f"{here}.key")
            errors += [fields.duplicate(f"{here}.key", key)] if key in found else []
            found[key] = set(values)
        errors += [fields.duplicate(path, "")] if found in seen else []
        seen.append(found)
    return errors


def validate_csi_driver(spec: Object) -> list[FieldError]:
    # The first path is misspelt in Kubernetes too.
    required = (("attachRequired", "attachedRequired"), ("podInfoOnMount",) * 2, ("storageCapacity",) * 2)
    errors = [fields.required(f"spec.{path}") for field, path in required if spec.get(field) is None]
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in FS_GROUP_POLICIES:
        errors.append(fields.not_supported("spec.fsGroupPolicy", policy, FS_GROUP_POLICIES))
    errors += _token_requests(spec.get("tokenRequests") or [])
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in LIFECYCLE_MODES:
            errors.append(fields.not_supported("spec.volumeLifecycleModes", mode, LIFECYCLE_MODES))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        path = "spec.nodeAllocatableUpdatePeriodSeconds"
        errors.append(fields.invalid(path, period, "must be greater than or equal to 10 seconds"))
    return errors


def validate_csi_driver_change(spec: Object, old: Object) -> list[FieldError]:
    pairs = (("attachRequired", "attachedRequired"), ("volumeLifecycleModes",) * 2)
    return [
        fields.invalid(f"spec.{path}", spec.get(field), IMMUTABLE)
        for field, path in pairs
        if spec.get(field) != old.get(field)
    ]


def _token_requests(requests: Sequence[Object]) -> list[FieldError]:
    errors = []
    audiences = set()
    for index, one in enumerate(requests):
        path = f"spec.tokenRequests[{index}]"
        audience, seconds = one.get("audience", ""), one.get("expirationSeconds")
        if audience in audiences:
            errors.append(fields.duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < LEAST_SECONDS:
            problem = "may not specify a duration less than 10 minutes"
            errors.append(fields.invalid(f"{path}.expirationSeconds", seconds, problem))
        if seconds is not None and seconds > MOST_SECONDS:
            problem = "may not specify a duration larger than 2^32 seconds"
            errors.append(fields.invalid(f"{path}.expirationSeconds", seconds, problem))
    return errors


def validate_csi_node(spec: Object) -> list[FieldError]:
    errors = []
    seen = set()
    for index, driver in enumerate(spec.get("drivers") or ()):
        path = f"spec.drivers[{index}]"
        name = driver.get("name", "")
        errors += _node_driver(driver, path)
        errors += [fields.duplicate(f"{path}.name", name)] if name in seen else []
        seen.add(name)
    return errors


def _node_driver(driver: Object, path: str) -> list[FieldError]:
    errors = identifiers.csi_driver_name(driver.get("name", ""), f"{path}.name")
    node, count = driver.get("nodeID", ""), (driver.get("allocatable") or {}).get("count")
    errors += [] if node else [fields.required(f"{path}.nodeID")]
    if len(node) > NODE_ID_LENGTH:
        errors.append(fields.invalid(f"{path}.nodeID", node, f"must be {NODE_ID_LENGTH} characters or less"))
    if count is not None and count < 0:
        problem = "must be greater than or equal to 0"
        errors.append(fields.invalid(f"{path}.allocatable.count", count, problem))
    keys = driver.get("topologyKeys") or []
    for number, key in enumerate(keys):
        errors += [] if key else [fields.required(path)]
        errors += [fields.duplicate(path, key)] if key in keys[:number] else []
        errors += check(key, names.qualified_name(key), path)
    return errors


def validate_csi_node_change(spec: Object, old: Object) -> list[FieldError]:
    """A driver's entry stays as it is, but for how many volumes it can take; entries may come and go."""
    before = {driver.get("name"): {**driver, "allocatable": None} for driver in old.get("drivers") or ()}
    return [
        fields.invalid("spec.drivers", driver, IMMUTABLE)
        for driver in spec.get("drivers") or ()
        if {**driver, "allocatable": None} != before.get(driver.get("name"), {**driver, "allocatable": None})
    ]


def validate_capacity(obj: Object) -> list[FieldError]:
    errors = validate_selector(obj.get("nodeTopology") or {}, "nodeTopology")
    name = obj.get("storageClassName", "")
    errors += check(name, names.dns_subdomain(name), "storageClassName")
    amount = obj.get("capacity")
    if amount is not None and quantity.parse(amount) < 0:
        errors.append(fields.invalid("capacity", amount, "must be greater than or equal to 0"))
    return errors


def validate_capacity_change(obj: Object, old: Object) -> list[FieldError]:
    return [
        fields.invalid(field, obj.get(field), IMMUTABLE)
        for field in ("nodeTopology", "storageClassName")
        if obj.get(field) != old.get(field)
    ]


def validate_attachment(obj: Object) -> list[FieldError]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    attacher, source, node = spec.get("attacher", ""), spec.get("source") or {}, spec.get("nodeName", "")
    errors = identifiers.csi_driver_name(attacher, "spec.attacher")
    errors += _attachment_source(source) + check(node, names.dns_subdomain(node), "spec.nodeName")
    path = "status.attachmentMetadata"
    errors += _size(status.get("attachmentMetadata") or {}, METADATA_BYTES, path)
    for field in ("attachError", "detachError"):
        errors += _volume_error(status.get(field) or {}, f"status.{field}")
    return errors


def _attachment_source(source: Object) -> list[FieldError]:
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    problem = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if name is None and inline is None:
        return [fields.required("spec.source", problem)]
    if name is not None and inline is not None:
        return [fields.forbidden("spec.source", problem)]
    path = "spec.source.persistentVolumeName"
    if name == "":
        return [fields.required(path, "must specify non empty persistentVolumeName")]
    return check(name, names.dns_subdomain(name), path) if name is not None else []


def _volume_error(error: Object, path: str) -> list[FieldError]:
    errors = []
    code: Any = error.get("errorCode")
    if len(error.get("message", "").encode()) > ERROR_BYTES:
        errors.append(fields.too_long(f"{path}.message", ERROR_BYTES))
    if code is not None and code < 0:
        errors.append(fields.invalid(f"{path}.errorCode", code, "must be between 0 and 2147483647, inclusive"))
    return errors
