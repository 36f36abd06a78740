"""What is wrong with an APIService (kube-aggregator's ``apis/apiregistration/validation``)."""

from __future__ import annotations

import base64

from kontinuum.api.kubernetes.apiregistration import name_of_service
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import problems
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

HIGHEST_GROUP, HIGHEST_VERSION, HIGHEST_PORT = 20_000, 1_000, 65_535


def validate_api_service(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    errors = _name(obj["metadata"].get("name") or "", name_of_service(group, version))
    if not group and version != "v1":
        problem = "only v1 may have an empty group and it better be legacy kube"
        errors.append(fields.required("spec.group", problem))
    errors += problems(group, names.dns_subdomain(group) if group else [], "spec.group")
    errors += problems(version, names.dns_1035_label(version), "spec.version")
    errors += _priority(spec.get("groupPriorityMinimum") or 0, HIGHEST_GROUP, "spec.groupPriorityMinimum")
    errors += _priority(spec.get("versionPriority") or 0, HIGHEST_VERSION, "spec.versionPriority")
    return errors + (_remote(spec) if spec.get("service") is not None else _local(spec))


def _name(name: str, wanted: str) -> list[FieldError]:
    if name == wanted:
        return []
    return [fields.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: {fields.quoted(wanted)}')]


def _priority(value: int, highest: int, path: str) -> list[FieldError]:
    return [] if 0 < value <= highest else [fields.invalid(path, value, f"must be positive and less than {highest}")]


def _local(spec: Object) -> list[FieldError]:
    errors = []
    if spec.get("caBundle"):
        size = f"{len(base64.b64decode(spec['caBundle']))} bytes"
        errors.append(fields.invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
    if spec.get("insecureSkipTLSVerify"):
        problem = "local APIServices may not have insecureSkipTLSVerify"
        errors.append(fields.invalid("spec.insecureSkipTLSVerify", True, problem))
    return errors


def _remote(spec: Object) -> list[FieldError]:
    service = spec["service"]
    errors = [fields.required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    port = service.get("port")
    if port is not None and not 0 < port <= HIGHEST_PORT:
        problem = f"port is not valid: must be between 1 and {HIGHEST_PORT}, inclusive"
        errors.append(fields.invalid("spec.service.port", port, problem))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        problem = "may not be true if caBundle is present"
        errors.append(fields.invalid("spec.insecureSkipTLSVerify", True, problem))
    return errors
