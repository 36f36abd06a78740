"""Resource requirements: known names, no negative amounts, requests within limits."""

from __future__ import annotations

from kontinuum.api.kubernetes.amounts import is_more
from kontinuum.api.kubernetes.pod_resources import container_amounts, is_for_pods
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.quantities import is_extended
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
NEGATIVE = "must be greater than or equal to 0"
SHARED = "cpu", "memory", "ephemeral-storage"
"""May be promised beyond what is requested; everything else has one amount, which is both request and limit."""


def validate_requirements(resources: Object, path: str) -> list[FieldError]:
    """``resources`` of a container; ``path`` names it, e.g. ``spec.containers[0].resources``."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    errors = validate_amounts(limits, f"{path}.limits") + validate_amounts(requests, f"{path}.requests")
    for name, amount in requests.items():
        if amount == limits.get(name):
            continue
        errors += _within_limit(name, amount, limits.get(name), f"{path}.requests")
    return errors


def validate_pod_resources(spec: Object, path: str) -> list[FieldError]:
    """``spec.resources``: what the pod asks for as a whole, in which its containers have to have room (KEP-2837)."""
    resources = spec.get("resources")
    if not resources:
        return []
    here = f"{path}.resources"
    errors = validate_requirements(resources, here)
    if resources.get("claims"):
        errors.append(fields.forbidden(f"{here}.claims", "claims may not be set for Resources at pod-level"))
    for side in ("limits", "requests"):
        for name in resources.get(side) or {}:
            if not is_for_pods(name):
                supported = ("cpu", "hugepages-", "memory")
                errors.append(fields.not_supported(f"{here}.{side}[{name}]", name, supported))
    needed = container_amounts(spec, "requests")
    for name, amount in (resources.get("requests") or {}).items():
        if name in needed and is_more(needed[name], amount):
            problem = f"must be greater than or equal to aggregate container requests of {needed[name]}"
            errors.append(fields.invalid(f"{here}.requests[{name}]", amount, problem))
    limits = resources.get("limits") or {}
    for group in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            own = (container.get("resources") or {}).get("limits") or {}
            for name in own.keys() & limits.keys():
                if is_more(own[name], limits[name]):
                    where = f"{path}.{group}[{index}].resources.limits[{name}]"
                    problem = f"must be less than or equal to pod limits of {limits[name]}"
                    errors.append(fields.invalid(where, own[name], problem))
    return errors


def validate_amounts(amounts: Object, path: str) -> list[FieldError]:
    errors = []
    for name, amount in amounts.items():
        if name not in CONTAINER_RESOURCES:
            errors += _name(name, f"{path}[{name}]")
        number = quantity.parse(amount)
        if number < 0:
            errors.append(fields.invalid(f"{path}[{name}]", amount, NEGATIVE))
        if is_extended(name) and number % 1:
            errors.append(fields.invalid(f"{path}[{name}]", amount, "must be an integer"))
    return errors


def _within_limit(name: str, amount: str, limit: str | None, path: str) -> list[FieldError]:
    if limit is None:
        if name not in SHARED and not name.startswith("hugepages-"):
            limits = path.removesuffix(".requests") + ".limits"
            return [fields.required(limits, "Limit must be set for non overcommitable resources")]
        return []
    if name not in SHARED and quantity.parse(amount) != quantity.parse(limit):
        return [fields.invalid(path, amount, f"must be equal to {name} limit of {limit}")]
    if quantity.parse(amount) > quantity.parse(limit):
        return [fields.invalid(path, amount, f"must be less than or equal to {name} limit of {limit}")]
    return []


def _name(name: str, path: str) -> list[FieldError]:
    errors = [fields.invalid(path, name, problem) for problem in names.qualified_name(name)]
    if "/" not in name and name not in CONTAINER_RESOURCES and not name.startswith("hugepages-"):
        errors.append(fields.invalid(path, name, "must be a standard resource type or fully qualified"))
        errors.append(fields.invalid(path, name, "must be a standard resource for containers"))
    return errors
