"""What is wrong with a pod's spec, and with a change of it."""

from __future__ import annotations

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.containers import one_of, validate_containers
from kontinuum.api.kubernetes.validation.dns import validate_pod_names
from kontinuum.api.kubernetes.validation.metadata import check_annotations, check_labels
from kontinuum.api.kubernetes.validation.pod_devices import validate_pod_devices
from kontinuum.api.kubernetes.validation.resources import validate_amounts, validate_pod_resources
from kontinuum.api.kubernetes.validation.scheduling import validate_affinity, validate_spread, validate_tolerations
from kontinuum.api.kubernetes.validation.security import validate_pod_security
from kontinuum.api.kubernetes.validation.volumes import validate_volumes
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

RESTART_POLICIES = ("Always", "OnFailure", "Never")
SYSTEMS = ("linux", "windows")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
NAMES = {
    "nodeName": names.dns_subdomain,
    "serviceAccountName": names.dns_subdomain,
    "runtimeClassName": names.dns_subdomain,
    "priorityClassName": names.dns_subdomain,
    "hostname": names.dns_label,
    "subdomain": names.dns_label,
}
MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_template(template: Object, path: str) -> list[FieldError]:
    """A pod template, e.g. at ``spec.template``; Kubernetes leaves ``metadata`` out of these two paths."""
    metadata = template.get("metadata") or {}
    return [
        *check_labels(metadata.get("labels"), f"{path}.labels"),
        *check_annotations(metadata.get("annotations"), f"{path}.annotations"),
        *validate_pod_spec(template.get("spec") or {}, f"{path}.spec"),
    ]


def validate_pod_spec(spec: Object, path: str) -> list[FieldError]:
    errors = validate_pod_security(spec, path)
    if volumes := spec.get("volumes"):
        errors = validate_volumes(volumes, f"{path}.volumes") + errors
    errors += validate_pod_names(spec, path)
    errors += validate_pod_devices(spec, path)
    errors += validate_containers(spec, path)
    errors += validate_pod_resources(spec, path)
    errors += one_of(spec.get("restartPolicy"), RESTART_POLICIES, f"{path}.restartPolicy")
    errors += one_of(spec.get("dnsPolicy"), DNS_POLICIES, f"{path}.dnsPolicy")
    errors += check_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    for field, check in NAMES.items():
        if value := spec.get(field):
            errors += [fields.invalid(f"{path}.{field}", value, problem) for problem in check(value)]
    errors += _durations(spec, path)
    if tolerations := spec.get("tolerations"):
        errors += validate_tolerations(tolerations, f"{path}.tolerations")
    if affinity := spec.get("affinity"):
        errors += validate_affinity(affinity, f"{path}.affinity")
    if overhead := spec.get("overhead"):
        errors += validate_amounts(overhead, f"{path}.overhead")
    errors += _gates(spec, path)
    if constraints := spec.get("topologySpreadConstraints"):
        errors += validate_spread(constraints, f"{path}.topologySpreadConstraints")
    return errors


def _durations(spec: Object, path: str) -> list[FieldError]:
    errors = []
    grace, deadline = spec.get("terminationGracePeriodSeconds"), spec.get("activeDeadlineSeconds")
    if grace is not None and grace < 0:
        where = f"{path}.terminationGracePeriodSeconds"
        errors.append(fields.invalid(where, grace, "must be greater than or equal to 0"))
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        problem = "must be between 1 and 2147483647, inclusive"
        errors.append(fields.invalid(f"{path}.activeDeadlineSeconds", deadline, problem))
    return errors


def _gates(spec: Object, path: str) -> list[FieldError]:
    """What a pod waits for before it is scheduled, and before it counts as ready; and which system it is made for."""
    errors = []
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name, here = gate.get("name", ""), f"{path}.schedulingGates[{index}]"
        errors += [fields.invalid(here, name, problem) for problem in names.qualified_name(name)]
        errors += [fields.duplicate(here, name)] if name in seen else []
        seen.add(name)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind, here = gate.get("conditionType", ""), f"{path}.readinessGates[{index}].conditionType"
        errors += [fields.invalid(here, kind, problem) for problem in names.qualified_name(kind)]
    system = spec.get("os")
    if system is not None:
        errors += one_of(system.get("name"), SYSTEMS, f"{path}.os.name")
    return errors


def validate_pod_change(spec: Object, old: Object) -> list[FieldError]:
    """Almost everything of a pod is fixed once it exists, because a node may be acting on it."""
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(old.get(field) or ()):
            return [fields.forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
    errors = _deadline_change(spec, old) + _toleration_change(spec, old)
    changed = sorted(key for key in spec.keys() | old.keys() if _comparable(spec, old).get(key) != old.get(key))
    if changed:
        shown = ", ".join(f"spec.{key}" for key in changed)
        errors.append(fields.forbidden("spec", f"{MAY_CHANGE}\nchanged: {shown}"))
    return errors


def _comparable(spec: Object, old: Object) -> Object:
    """``spec`` with everything that may change put back to how it was."""
    result = {**spec}
    for field in ("containers", "initContainers"):
        if field in spec:
            pairs = zip(spec[field], old.get(field) or [], strict=True)
            result[field] = [_with_image(one, before) for one, before in pairs]
    for field in ("activeDeadlineSeconds", "tolerations"):
        result.pop(field, None)
        if field in old:
            result[field] = old[field]
    if old.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        result["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    if old.get("schedulingGates") and all(gate in old["schedulingGates"] for gate in spec.get("schedulingGates") or []):
        result["schedulingGates"] = old["schedulingGates"]
    return result


def _with_image(container: Object, before: Object) -> Object:
    return {**container, "image": before.get("image")} if container.get("image") else container


def _deadline_change(spec: Object, old: Object) -> list[FieldError]:
    new, before = spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    where = "spec.activeDeadlineSeconds"
    if before is None or new == before:
        return []
    if new is None:
        return [fields.invalid(where, None, "must not update from a positive integer to nil value")]
    return [fields.invalid(where, new, "must be less than or equal to previous value")] if new > before else []


def _toleration_change(spec: Object, old: Object) -> list[FieldError]:
    """Tolerations may be added; of an existing one only the seconds may change."""
    kept = [_without_seconds(one) for one in spec.get("tolerations") or ()]
    if all(_without_seconds(one) in kept for one in old.get("tolerations") or ()):
        return []
    problem = "existing toleration can not be modified except its tolerationSeconds"
    return [fields.forbidden("spec.tolerations", problem)]


def _without_seconds(toleration: Object) -> Object:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}
