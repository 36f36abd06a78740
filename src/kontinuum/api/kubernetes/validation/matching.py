"""What is wrong with the rules that say which requests a webhook or an admission policy looks at."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.expressions import compile_checked, environment
from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check, path_segment
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel.types import BOOL
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
MATCH_POLICIES = ("Equivalent", "Exact")
MOST_CONDITIONS = 64


def validate_match_resources(match: Object, path: str) -> list[FieldError]:
    """A policy's ``matchConstraints`` or a binding's ``matchResources``, after defaulting."""
    errors = optional_word(match.get("matchPolicy", ""), MATCH_POLICIES, f"{path}.matchPolicy")
    for field in ("namespaceSelector", "objectSelector"):
        errors += validate_selector(match.get(field) or {}, f"{path}.{field}")
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(field) or ()):
            here = f"{path}.{field}[{index}]"
            errors += _resource_names(rule.get("resourceNames") or [], f"{here}.resourceNames")
            errors += validate_rule(rule, here)
    return errors


def optional_word(value: str | None, supported: Sequence[str], path: str) -> list[FieldError]:
    return [] if value is None or value in supported else [fields.not_supported(path, value, supported)]


def _resource_names(values: Sequence[str], path: str) -> list[FieldError]:
    errors = []
    for index, name in enumerate(values):
        errors += check(name, path_segment(name), f"{path}[{index}]")
        errors += [fields.duplicate(f"{path}[{index}]", name)] if name in values[:index] else []
    return errors


def validate_rule(rule: Object, path: str) -> list[FieldError]:
    """A RuleWithOperations."""
    operations = rule.get("operations") or []
    here = f"{path}.operations"
    errors = [] if operations else [fields.required(here)]
    errors += _alone(operations, here, "operations")
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            errors.append(fields.not_supported(f"{here}[{index}]", operation, OPERATIONS))
    for field, plural in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        errors += [] if values else [fields.required(f"{path}.{field}")]
        errors += _alone(values, f"{path}.{field}", plural)
    for index, version in enumerate(rule.get("apiVersions") or ()):
        errors += [] if version else [fields.required(f"{path}.apiVersions[{index}]")]
    errors += _resources(rule.get("resources") or [], f"{path}.resources")
    return errors + optional_word(rule.get("scope"), SCOPES, f"{path}.scope")


def _alone(values: Sequence[str], path: str, plural: str) -> list[FieldError]:
    if len(values) > 1 and "*" in values:
        return [fields.invalid(path, list(values), f"if '*' is present, must not specify other {plural}")]
    return []


def _resources(values: Sequence[str], path: str) -> list[FieldError]:
    """``pods``, ``pods/*``, ``*/scale``, ``*`` and ``*/*`` say more or less; none may say again what another does."""
    errors = [] if values else [fields.required(path)]
    whole: set[str] = set()
    anywhere: set[str] = set()
    plain = False
    for index, value in enumerate(values):
        here = f"{path}[{index}]"
        resource, slash, below = value.partition("/")
        if not value:
            errors.append(fields.required(here))
        elif not slash:
            # Kubernetes looks at the last of these only; so do we, because clients may rely on it.
            plain = value != "*"
        else:
            if resource in whole:
                problem = f"if '{resource}/*' is present, must not specify {value}"
                errors.append(fields.invalid(here, value, problem))
            if below in anywhere:
                problem = f"if '*/{below}' is present, must not specify {value}"
                errors.append(fields.invalid(here, value, problem))
            whole |= {resource} if below == "*" else set()
            anywhere |= {below} if resource == "*" else set()
    if len(values) > 1 and "*/*" in values:
        problem = "if '*/*' is present, must not specify other resources"
        errors.append(fields.invalid(path, list(values), problem))
    if "*" in values and plain:
        problem = "if '*' is present, must not specify other resources without subresources"
        errors.append(fields.invalid(path, list(values), problem))
    return errors


def validate_match_conditions(conditions: Sequence[Object], path: str, *, has_params: bool = False) -> list[FieldError]:
    """``has_params``: the conditions of a policy with parameters, which may name them."""
    errors = []
    if len(conditions) > MOST_CONDITIONS:
        errors.append(fields.too_many(path, len(conditions), MOST_CONDITIONS))
    seen = set()
    for index, condition in enumerate(conditions):
        here = f"{path}[{index}]"
        name, expression = condition.get("name", ""), condition.get("expression", "").strip()
        if expression:
            within = environment(has_params=has_params)
            errors += compile_checked(expression, within, (BOOL,), f"{here}.expression")[1]
        else:
            errors.append(fields.required(f"{here}.expression"))
        errors += check(name, names.qualified_name(name), f"{here}.name") if name else [
            fields.required(f"{here}.name")
        ]  # fmt: skip
        errors += [fields.duplicate(f"{here}.name", name)] if name and name in seen else []
        seen.add(name)
    return errors
