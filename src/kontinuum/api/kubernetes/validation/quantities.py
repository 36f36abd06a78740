"""Names and amounts of resources: which names there are, which come in whole numbers (``pkg/apis/core/helper``)."""

from __future__ import annotations

from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import NEGATIVE, problems
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError

NATIVE = "kubernetes.io/"
HUGE = "hugepages-"
CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
COUNTED = frozenset({
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
"""Numbers of objects."""
QUOTA = COUNTED | {
    "cpu", "memory", "ephemeral-storage", "storage", "requests.cpu", "requests.memory", "requests.storage",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
}  # fmt: skip
STANDARD = QUOTA
QUOTA_PREFIXES = (HUGE, f"requests.{HUGE}")
SHARED = frozenset({"cpu", "memory", "ephemeral-storage"})
NOT_INTEGER = "must be an integer"
NOT_STANDARD = "must be a standard resource type or fully qualified"


def is_native(name: str) -> bool:
    return "/" not in name or NATIVE in name


def is_extended(name: str) -> bool:
    """``example.com/gpu``: counted in whole numbers, and never promised twice."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def is_overcommitable(name: str) -> bool:
    return is_native(name) and not name.startswith(HUGE)


def check_name(name: str, path: str) -> list[FieldError]:
    """A resource as such: a qualified name, and without a domain one of Kubernetes' own."""
    errors = problems(name, names.qualified_name(name), path)
    if not errors and "/" not in name and name not in STANDARD and not name.startswith(QUOTA_PREFIXES):
        errors.append(fields.invalid(path, name, NOT_STANDARD))
    return errors


def check_container_name(name: str, path: str) -> list[FieldError]:
    errors = check_name(name, path)
    if "/" not in name:
        if name not in CONTAINER and not name.startswith(HUGE):
            errors.append(fields.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        errors.append(fields.invalid(path, name, "doesn't follow extended resource name standard"))
    return errors


def check_quota_name(name: str, path: str) -> list[FieldError]:
    errors = check_name(name, path)
    if not errors and "/" not in name and name not in QUOTA and not name.startswith(QUOTA_PREFIXES):
        errors.append(fields.invalid(path, name, "must be a standard resource for quota"))
    return errors


def check_amount(name: str, amount: Any, path: str) -> list[FieldError]:
    """Not negative, and whole where the resource comes in pieces."""
    value = quantity.parse(amount)
    errors = [fields.invalid(path, amount, NEGATIVE)] if value < 0 else []
    if (name in COUNTED or is_extended(name)) and value % 1:
        errors.append(fields.invalid(path, amount, NOT_INTEGER))
    return errors
