"""What is wrong with a HorizontalPodAutoscaler in its stored form (kubernetes ``pkg/apis/autoscaling/validation``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.checks import problems
from kontinuum.api.kubernetes.validation.identifiers import path_segment
from kontinuum.api.machinery import fields, quantity
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800
"""Seconds."""
SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
SELECTIONS = ("Disabled", "Max", "Min")
POLICIES = ("Percent", "Pods")
EITHER = "must set either a target raw value or a target utilization"
NOT_BOTH = "may not set both a target raw value and a target utilization"


def validate_autoscaler(spec: Object, *, least: int = 1) -> list[FieldError]:
    """``least``: the lowest ``minReplicas`` that is allowed."""
    low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    errors = []
    if low is not None and low < least:
        errors.append(fields.invalid("spec.minReplicas", low, f"must be greater than or equal to {least}"))
    if high < 1:
        errors.append(fields.invalid("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        errors.append(fields.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    errors += _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    metrics = spec.get("metrics") or []
    for index, metric in enumerate(metrics):
        errors += _metric(metric, f"spec.metrics[{index}]")
    if low == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        problem = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(fields.forbidden("spec.metrics", problem))
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        errors += _rules(rules, f"spec.behavior.{name}") if rules is not None else []
    return errors


def _reference(reference: Object, path: str) -> list[FieldError]:
    errors = []
    for name in ("kind", "name"):
        value = reference.get(name) or ""
        errors += problems(value, path_segment(value), f"{path}.{name}") if value else [
            fields.required(f"{path}.{name}")]  # fmt: skip
    return errors


def _metric(metric: Object, path: str) -> list[FieldError]:
    kind = metric.get("type") or ""
    errors = []
    if not kind:
        errors.append(fields.required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        errors.append(fields.not_supported(f"{path}.type", kind, sorted(SOURCES)))
    present = [name for name in SOURCES.values() if metric.get(name) is not None]
    if present:
        errors += CHECKS[present[0]](metric[present[0]], f"{path}.{present[0]}")
    expected = SOURCES.get(kind)
    if expected and expected not in present:
        problem = "must populate information for the given metric source"
        errors.append(fields.required(f"{path}.{expected}", problem))
    if len(present) != 1:
        problem = "must populate the given metric source only"
        errors += [fields.forbidden(f"{path}.{name}", problem) for name in present if name != expected]
    return errors


def _object(source: Object, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    errors = _reference(source.get("describedObject") or {}, f"{path}.describedObject")
    errors += _identifier(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        problem = "must set either a target value or averageValue"
        errors.append(fields.required(f"{path}.target.averageValue", problem))
    return errors


def _external(source: Object, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    errors = _identifier(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        problem = "must set either a target value for metric or a per-pod target"
        errors.append(fields.required(f"{path}.target.averageValue", problem))
    if target.get("value") is not None and target.get("averageValue") is not None:
        problem = "may not set both a target value for metric and a per-pod target"
        errors.append(fields.forbidden(f"{path}.target.value", problem))
    return errors


def _pods(source: Object, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    errors = _identifier(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    if target.get("averageValue") is None:
        problem = "must specify a positive target averageValue"
        errors.append(fields.required(f"{path}.target.averageValue", problem))
    return errors


def _resource(source: Object, path: str) -> list[FieldError]:
    target = source.get("target") or {}
    errors = [] if source.get("name") else [fields.required(f"{path}.name", "must specify a resource name")]
    errors += _target(target, f"{path}.target")
    if target.get("averageUtilization") is None and target.get("averageValue") is None:
        errors.append(fields.required(f"{path}.target.averageUtilization", EITHER))
    if target.get("averageUtilization") is not None and target.get("averageValue") is not None:
        errors.append(fields.forbidden(f"{path}.target.averageValue", NOT_BOTH))
    return errors


def _container_resource(source: Object, path: str) -> list[FieldError]:
    container = source.get("container") or ""
    errors = _resource(source, path)
    if not container:
        return [*errors, fields.required(f"{path}.container", "must specify a container")]
    return errors + problems(container, names.dns_label(container), f"{path}.container")


CHECKS: dict[str, Callable[[Object, str], list[FieldError]]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}


def _identifier(metric: Object, path: str) -> list[FieldError]:
    name = metric.get("name") or ""
    if not name:
        return [fields.required(f"{path}.name", "must specify a metric name")]
    return problems(name, path_segment(name), f"{path}.name")


def _target(target: Object, path: str) -> list[FieldError]:
    kind = target.get("type") or ""
    errors = [] if kind else [fields.required(f"{path}.type", "must specify a metric target type")]
    if kind not in ("Utilization", "Value", "AverageValue"):
        errors.append(fields.invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for name in ("value", "averageValue"):
        amount: Any = target.get(name)
        if amount is not None and quantity.parse(amount) <= 0:
            errors.append(fields.invalid(f"{path}.{name}", amount, "must be positive"))
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        errors.append(fields.invalid(f"{path}.averageUtilization", share, "must be greater than 0"))
    return errors


def _rules(rules: Object, path: str) -> list[FieldError]:
    window, choice, policies = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy"), rules.get("policies")
    where = f"{path}.stabilizationWindowSeconds"
    errors = []
    if window is not None and window < 0:
        errors.append(fields.invalid(where, window, "must be greater than or equal to zero"))
    if window is not None and window > LONGEST_WINDOW:
        errors.append(fields.invalid(where, window, f"must be less than or equal to {LONGEST_WINDOW}"))
    if choice is not None and choice not in SELECTIONS:
        errors.append(fields.not_supported(f"{path}.selectPolicy", choice, SELECTIONS))
    if rules.get("tolerance") is not None and quantity.parse(rules["tolerance"]) < 0:
        problem = "must be greater or equal to 0"
        errors.append(fields.invalid(f"{path}.tolerance", rules["tolerance"], problem))
    return errors + _policies(policies or [], f"{path}.policies")


def _policies(policies: Sequence[Object], path: str) -> list[FieldError]:
    errors = [] if policies else [fields.required(path, "must specify at least one Policy")]
    for index, policy in enumerate(policies):
        here = f"{path}[{index}]"
        if policy.get("type") not in POLICIES:
            errors.append(fields.not_supported(f"{here}.type", policy.get("type", ""), POLICIES))
        for name in ("value", "periodSeconds"):
            if (policy.get(name) or 0) <= 0:
                errors.append(fields.invalid(f"{here}.{name}", policy.get(name) or 0, "must be greater than zero"))
        if (policy.get("periodSeconds") or 0) > LONGEST_PERIOD:
            problem = f"must be less than or equal to {LONGEST_PERIOD}"
            errors.append(fields.invalid(f"{here}.periodSeconds", policy["periodSeconds"], problem))
    return errors
