"""What is wrong with LimitRanges and ResourceQuotas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import IMMUTABLE, problems
from kontinuum.api.kubernetes.validation.quantities import (
    QUOTA,
    QUOTA_PREFIXES,
    check_amount,
    check_container_name,
    check_name,
    check_quota_name,
    is_overcommitable,
)
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
POD_SCOPES = ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity")
CLAIM_SCOPES = ("VolumeAttributesClass",)
SCOPES = ("BestEffort", *POD_SCOPES, *CLAIM_SCOPES)
CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
WITHOUT_VALUES = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
POD_RESOURCES = frozenset({"pods", "cpu", "memory", "ephemeral-storage"})
EXISTS_ONLY = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def validate_limits(limits: Sequence[Object]) -> list[FieldError]:
    """``spec.limits`` of a LimitRange."""
    errors = []
    seen: set[str] = set()
    for index, limit in enumerate(limits):
        path, kind = f"spec.limits[{index}]", limit.get("type", "")
        wrong = problems(kind, names.qualified_name(kind), f"{path}.type")
        if not wrong and "/" not in kind and kind not in LIMIT_TYPES:
            problem = "must be a standard limit type or fully qualified"
            wrong.append(fields.invalid(f"{path}.type", kind, problem))
        errors += wrong
        if kind in seen:
            errors.append(fields.duplicate(f"{path}.type", kind))
        seen.add(kind)
        errors += _limit(limit, kind, path)
    return errors


def _limit(limit: Object, kind: str, path: str) -> list[FieldError]:
    check = check_container_name if kind in ("Pod", "Container") else check_name
    errors = []
    bounds = ["max", "min", "maxLimitRequestRatio"]
    for field in ("default", "defaultRequest"):
        if kind != "Pod":
            bounds.append(field)
        elif limit.get(field):
            errors.append(fields.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
    for field in bounds:
        for name in limit.get(field) or {}:
            errors += check(name, f"{path}.{field}[{name}]")
    storage = [(limit.get(field) or {}).get("storage") for field in ("min", "max")]
    if kind == "PersistentVolumeClaim" and storage == [None, None]:
        problem = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(fields.required(f"{path}.limits", problem))
    for name in sorted({name for field in bounds for name in limit.get(field) or {}}):
        amounts = {field: (limit.get(field) or {}).get(name) for field in bounds}
        errors += _order(name, amounts, path)
    return errors


def _order(name: str, amounts: Object, path: str) -> list[FieldError]:
    """min ≤ defaultRequest ≤ default ≤ max of one resource."""
    values = {field: quantity.parse(amount) for field, amount in amounts.items() if amount is not None}

    def exceeds(low: str, high: str) -> bool:
        return low in values and high in values and values[low] > values[high]

    low, high, wanted, limit = (amounts.get(field) for field in ("min", "max", "defaultRequest", "default"))
    rules: list[tuple[bool, str, Any, str]] = [
        (exceeds("min", "max"), "min", low, f"min value {low} is greater than max value {high}"),
        (exceeds("min", "defaultRequest"), "defaultRequest", wanted,
         f"min value {low} is greater than default request value {wanted}"),
        (exceeds("defaultRequest", "max"), "defaultRequest", wanted,
         f"default request value {wanted} is greater than max value {high}"),
        (exceeds("defaultRequest", "default"), "defaultRequest", wanted,
         f"default request value {wanted} is greater than default limit value {limit}"),
        (exceeds("min", "default"), "default", low, f"min value {low} is greater than default value {limit}"),
        (exceeds("default", "max"), "default", high, f"default value {limit} is greater than max value {high}"),
    ]  # fmt: skip
    errors = [fields.invalid(f"{path}.{field}[{name}]", shown, problem) for bad, field, shown, problem in rules if bad]
    errors += _ratio(name, amounts, values, path)
    has_both = "default" in values and "defaultRequest" in values
    if has_both and not is_overcommitable(name) and values["default"] != values["defaultRequest"]:
        problem = f"default value {limit} must equal to defaultRequest value {wanted} in {name}"
        errors.append(fields.invalid(f"{path}.defaultRequest[{name}]", wanted, problem))
    return errors


def _ratio(name: str, amounts: Object, values: Object, path: str) -> list[FieldError]:
    ratio = values.get("maxLimitRequestRatio")
    if ratio is None:
        return []
    where, shown = f"{path}.maxLimitRequestRatio[{name}]", amounts["maxLimitRequestRatio"]
    errors = [fields.invalid(where, shown, f"ratio {shown} is less than 1")] if ratio < 1 else []
    if values.get("min") and "max" in values and ratio > values["max"] / values["min"]:
        problem = f"ratio {shown} is greater than max/min = {float(values['max'] / values['min']):f}"
        errors.append(fields.invalid(where, shown, problem))
    return errors


def validate_quota(spec: Object) -> list[FieldError]:
    """``spec`` of a ResourceQuota."""
    hard = spec.get("hard") or {}
    errors = validate_amounts(hard, "spec.hard")
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            errors.append(fields.invalid("spec.scopes", scopes, "unsupported scope"))
        problem = "unsupported scope applied to resource"
        errors += [fields.invalid("spec.scopes", scopes, problem) for _ in _misapplied(scope, hard)]
    if any(pair <= set(scopes) for pair in CONFLICTS):
        errors.append(fields.invalid("spec.scopes", scopes, "conflicting scopes"))
    return errors + _scope_selector(spec, hard)


def validate_amounts(amounts: Object, path: str) -> list[FieldError]:
    errors = []
    for name, amount in amounts.items():
        errors += check_quota_name(name, f"{path}[{name}]") + check_amount(name, amount, f"{path}[{name}]")
    return errors


def validate_quota_change(spec: Object, old: Object) -> list[FieldError]:
    if set(spec.get("scopes") or ()) == set(old.get("scopes") or ()):
        return []
    return [fields.invalid("spec.scopes", spec.get("scopes"), IMMUTABLE)]


def _misapplied(scope: str, hard: Object) -> Iterator[str]:
    """Resources that the scope says nothing about."""
    for name in sorted(hard):
        is_known = name in QUOTA or name.startswith(QUOTA_PREFIXES)
        bare = name.removeprefix("requests.").removeprefix("limits.")
        is_pods = bare in POD_RESOURCES or bare.startswith("hugepages-")
        if scope == "BestEffort":
            fits = name == "pods"
        elif scope in POD_SCOPES:
            fits = is_pods
        elif scope in CLAIM_SCOPES:
            fits = name == "persistentvolumeclaims" or bare == "storage"
        else:
            fits = True
        if is_known and not fits:
            yield name


def _scope_selector(spec: Object, hard: Object) -> list[FieldError]:
    selector = spec.get("scopeSelector")
    path = "spec.scopeSelector.matchExpressions"
    errors = []
    requirements = (selector or {}).get("matchExpressions") or []
    for one in requirements:
        scope, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []
        if scope not in SCOPES:
            errors.append(fields.invalid(f"{path}.scopeName", scope, "unsupported scope"))
        problem = "unsupported scope applied to resource"
        errors += [fields.invalid(path, selector, problem) for _ in _misapplied(scope, hard)]
        if scope in WITHOUT_VALUES and operator != "Exists":
            errors.append(fields.invalid(f"{path}.operator", operator, EXISTS_ONLY))
        errors += _operator(operator, values, path)
    if any(pair <= {one.get("scopeName") for one in requirements} for pair in CONFLICTS):
        errors.append(fields.invalid("spec.scopeSelector.scopes", spec.get("scopes"), "conflicting scopes"))
    return errors


def _operator(operator: str, values: Sequence[str], path: str) -> list[FieldError]:
    if operator in ("In", "NotIn"):
        problem = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [fields.required(f"{path}.values", problem)]
    if operator in ("Exists", "DoesNotExist"):
        problem = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [fields.invalid(f"{path}.values", values, problem)] if values else []
    return [fields.invalid(f"{path}.operator", operator, "not a valid selector operator")]
