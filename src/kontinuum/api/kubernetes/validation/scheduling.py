"""Tolerations, node selectors and affinity: where a pod may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.metadata import check_label_key, check_labels
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
SPREAD_ACTIONS, SPREAD_POLICIES = ("DoNotSchedule", "ScheduleAnyway"), ("Honor", "Ignore")
NOT_POSITIVE = "must be greater than zero"
NEEDS_VALUES = "must be specified when `operator` is 'In' or 'NotIn'"
NO_VALUES = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"


def validate_tolerations(tolerations: Sequence[Object], path: str) -> list[FieldError]:
    errors = []
    for index, one in enumerate(tolerations):
        errors += _toleration(one, f"{path}[{index}]")
    return errors


def _toleration(one: Object, path: str) -> list[FieldError]:
    key, operator, effect = one.get("key", ""), one.get("operator", ""), one.get("effect", "")
    errors = check_label_key(key, f"{path}.key") if key else []
    if not key and operator != "Exists":
        problem = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(fields.invalid(f"{path}.operator", operator, problem))
    if one.get("tolerationSeconds") is not None and effect != "NoExecute":
        problem = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(fields.invalid(f"{path}.effect", effect, problem))
    if operator == "Exists" and one.get("value"):
        errors.append(fields.invalid(f"{path}.operator", one, "value must be empty when `operator` is 'Exists'"))
    elif operator in ("", "Equal"):
        errors += [fields.invalid(f"{path}.operator", one["value"], problem)
                   for problem in names.label_value(one.get("value", ""))]  # fmt: skip
    elif operator != "Exists":
        errors.append(fields.not_supported(f"{path}.operator", operator, ["Equal", "Exists"]))
    if effect and effect not in EFFECTS:
        errors.append(fields.not_supported(f"{path}.effect", effect, EFFECTS))
    return errors


def validate_affinity(affinity: Object, path: str) -> list[FieldError]:
    errors = []
    node = affinity.get("nodeAffinity") or {}
    needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        errors += validate_node_selector(needed, f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    for index, wish in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        here = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        errors += _weight(wish, here) + _node_term(wish.get("preference") or {}, f"{here}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        errors += _pod_affinity(affinity.get(kind) or {}, f"{path}.{kind}")
    return errors


def validate_node_selector(selector: Object, path: str) -> list[FieldError]:
    """A ``v1.NodeSelector``, of which one term at least must fit a node."""
    terms = selector.get("nodeSelectorTerms") or []
    here = f"{path}.nodeSelectorTerms"
    errors = [] if terms else [fields.required(here, "must have at least one node selector term")]
    for index, term in enumerate(terms):
        errors += _node_term(term, f"{here}[{index}]")
    return errors


def _pod_affinity(affinity: Object, path: str) -> list[FieldError]:
    errors = []
    for index, term in enumerate(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
        errors += _pod_term(term, f"{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
    for index, wish in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        here = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        errors += _weight(wish, here) + _pod_term(wish.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return errors


def _pod_term(term: Object, path: str) -> list[FieldError]:
    errors = validate_selector(term.get("labelSelector") or {}, f"{path}.labelSelector")
    for name in term.get("namespaces") or ():
        errors += [fields.invalid(f"{path}.namespace", name, problem) for problem in names.dns_label(name)]
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        errors += _label_keys(term, field, path)
    key = term.get("topologyKey", "")
    if not key:
        return [*errors, fields.required(f"{path}.topologyKey", "can not be empty")]
    return errors + check_label_key(key, f"{path}.topologyKey")


def _weight(wish: Object, path: str) -> list[FieldError]:
    weight = wish.get("weight", 0)
    return [] if 1 <= weight <= 100 else [fields.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(term: Object, path: str) -> list[FieldError]:
    errors = []
    for index, one in enumerate(term.get("matchExpressions") or ()):
        errors += _node_requirement(one, f"{path}.matchExpressions[{index}]")
    for index, one in enumerate(term.get("matchFields") or ()):
        errors += _field_requirement(one, f"{path}.matchFields[{index}]")
    return errors


def _field_requirement(one: Object, path: str) -> list[FieldError]:
    """Of a node's fields only the name can be asked for, and only for one."""
    key, operator, values = one.get("key", ""), one.get("operator", ""), one.get("values") or []
    errors = []
    if operator not in ("In", "NotIn"):
        errors.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        problem = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(fields.required(f"{path}.values", problem))
    if key != "metadata.name":
        return [*errors, fields.invalid(f"{path}.key", key, "not a valid field selector key")]
    for index, value in enumerate(values):
        errors += [fields.invalid(f"{path}.values[{index}]", value, problem) for problem in names.dns_subdomain(value)]
    return errors


def _node_requirement(one: Object, path: str) -> list[FieldError]:
    operator, values = one.get("operator", ""), one.get("values") or []
    errors = []
    if operator not in NODE_OPERATORS:
        errors.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if operator in ("In", "NotIn") and not values:
        errors.append(fields.required(f"{path}.values", NEEDS_VALUES))
    if operator in ("Exists", "DoesNotExist") and values:
        errors.append(fields.forbidden(f"{path}.values", NO_VALUES))
    if operator in ("Gt", "Lt") and len(values) != 1:
        problem = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        errors.append(fields.required(f"{path}.values", problem))
    return errors + check_label_key(one.get("key", ""), f"{path}.key")


def validate_spread(constraints: Sequence[Object], path: str) -> list[FieldError]:
    """``topologySpreadConstraints``: at most one for each key and what to do where it cannot be met."""
    errors = []
    pairs = [(one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")) for one in constraints]
    for index, one in enumerate(constraints):
        here = f"{path}[{index}]"
        errors += _spread(one, here)
        if pairs[index] in pairs[index + 1 :]:
            shown = "{" + ", ".join(pairs[index]) + "}"
            errors.append(fields.duplicate(here + ".{topologyKey, whenUnsatisfiable}", shown))
    return errors


def _spread(one: Object, path: str) -> list[FieldError]:
    errors = []
    action, domains = one.get("whenUnsatisfiable", ""), one.get("minDomains")
    if one.get("maxSkew", 0) <= 0:
        errors.append(fields.invalid(f"{path}.maxSkew", one.get("maxSkew", 0), NOT_POSITIVE))
    if not one.get("topologyKey"):
        errors.append(fields.required(f"{path}.topologyKey", "can not be empty"))
    if action not in SPREAD_ACTIONS:
        errors.append(fields.not_supported(f"{path}.whenUnsatisfiable", action, SPREAD_ACTIONS))
    if domains is not None and domains <= 0:
        errors.append(fields.invalid(f"{path}.minDomains", domains, NOT_POSITIVE))
    if domains is not None and action != "DoNotSchedule":
        problem = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(fields.invalid(f"{path}.minDomains", domains, problem))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if one.get(field, "Honor") not in SPREAD_POLICIES:
            errors.append(fields.not_supported(f"{path}.{field}", one[field], SPREAD_POLICIES))
    errors += _label_keys(one, "matchLabelKeys", path)
    return errors + validate_selector(one.get("labelSelector") or {}, f"{path}.labelSelector")


def _label_keys(one: Object, field: str, path: str) -> list[FieldError]:
    """Keys whose values the pod's own labels give; they complete a selector, which therefore has to be there."""
    keys = one.get(field) or ()
    if keys and one.get("labelSelector") is None:
        return [fields.forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")]
    return [error for index, key in enumerate(keys) for error in check_label_key(key, f"{path}.{field}[{index}]")]


def validate_selector(selector: Object, path: str) -> list[FieldError]:
    """A ``metav1.LabelSelector``."""
    errors = check_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = one.get("operator", ""), one.get("values") or []
        if operator in ("In", "NotIn"):
            errors += [] if values else [fields.required(f"{here}.values", NEEDS_VALUES)]
        elif operator in ("Exists", "DoesNotExist"):
            errors += [fields.forbidden(f"{here}.values", NO_VALUES)] if values else []
        else:
            errors.append(fields.invalid(f"{here}.operator", operator, "not a valid selector operator"))
        errors += check_label_key(one.get("key", ""), f"{here}.key")
        errors += _values(values, f"{here}.values")
    return errors


def _values(values: Sequence[Any], path: str) -> list[FieldError]:
    return [
        fields.invalid(f"{path}[{index}]", value, problem)
        for index, value in enumerate(values)
        for problem in names.label_value(value)
    ]
