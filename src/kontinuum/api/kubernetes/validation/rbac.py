"""What is wrong with roles and bindings. Who may write them is not said here (see the API server's authorization)."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.kubernetes.validation.identifiers import check, path_segment
from kontinuum.api.kubernetes.validation.scheduling import validate_selector
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

GROUP = "rbac.authorization.k8s.io"
SUBJECT_KINDS = ("ServiceAccount", "User", "Group")


def validate_rules(rules: Sequence[Object], *, namespaced: bool) -> list[FieldError]:
    errors = []
    for index, rule in enumerate(rules):
        errors += _rule(rule, f"rules[{index}]", namespaced=namespaced)
    return errors


def _rule(rule: Object, path: str, *, namespaced: bool) -> list[FieldError]:
    errors = [] if rule.get("verbs") else [fields.required(f"{path}.verbs", "verbs must contain at least one value")]
    urls = rule.get("nonResourceURLs")
    if urls:
        here = f"{path}.nonResourceURLs"
        if namespaced:
            errors.append(fields.invalid(here, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            problem = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(fields.invalid(here, urls, problem))
        return errors
    for field, word in (("apiGroups", "api group"), ("resources", "resource")):
        if not rule.get(field):
            problem = f"resource rules must supply at least one {word}"
            errors.append(fields.required(f"{path}.{field}", problem))
    return errors


def validate_aggregation(rule: Object) -> list[FieldError]:
    path = "aggregationRule.clusterRoleSelectors"
    selectors = rule.get("clusterRoleSelectors") or []
    if not selectors:
        return [fields.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    errors = []
    for index, selector in enumerate(selectors):
        errors += validate_selector(selector, f"{path}[{index}]")
    return errors


def validate_binding(binding: Object, *, namespaced: bool) -> list[FieldError]:
    reference = binding.get("roleRef") or {}
    group, kind, name = (reference.get(field, "") for field in ("apiGroup", "kind", "name"))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    errors = [] if group == GROUP else [fields.not_supported("roleRef.apiGroup", group, [GROUP])]
    errors += [] if kind in kinds else [fields.not_supported("roleRef.kind", kind, kinds)]
    errors += check(name, path_segment(name), "roleRef.name") if name else [fields.required("roleRef.name")]
    for index, subject in enumerate(binding.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{index}]", namespaced=namespaced)
    return errors


def validate_binding_change(binding: Object, old: Object) -> list[FieldError]:
    """Another role is another binding: otherwise who may edit subjects could hand out any role."""
    if binding.get("roleRef") == old.get("roleRef"):
        return []
    return [fields.invalid("roleRef", binding.get("roleRef"), "cannot change roleRef")]


def _subject(subject: Object, path: str, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = (subject.get(field, "") for field in ("kind", "name", "apiGroup"))
    errors = [] if name else [fields.required(f"{path}.name")]
    if kind == "ServiceAccount":
        errors += check(name, names.dns_subdomain(name) if name else [], f"{path}.name")
        errors += [fields.not_supported(f"{path}.apiGroup", group, [""])] if group else []
        if not namespaced and not subject.get("namespace"):
            errors.append(fields.required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        errors += [] if group == GROUP else [fields.not_supported(f"{path}.apiGroup", group, [GROUP])]
    else:
        errors.append(fields.not_supported(f"{path}.kind", kind, SUBJECT_KINDS))
    return errors
