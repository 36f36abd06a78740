"""Which objects a quota's scopes mean. A quota without scopes means all; one with scopes no object without any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kontinuum.api.kubernetes.claims import attributes_classes_of
from kontinuum.api.kubernetes.qos import qos_class
from kontinuum.api.kubernetes.resources import PERSISTENTVOLUMECLAIMS, PODS
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.resources import Resource


def requirements_of(quota_spec: Object) -> list[Object]:
    """All scopes as ``scopeSelector`` has them: ``{"scopeName": "BestEffort", "operator": "Exists"}``."""
    plain = [{"scopeName": scope, "operator": "Exists"} for scope in quota_spec.get("scopes") or ()]
    return [*plain, *((quota_spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def matches(requirements: Sequence[Object], resource: Resource, obj: Object) -> bool:
    """True if all ``requirements`` mean ``obj``."""
    if not requirements:
        return True
    if resource == PODS:
        return all(_means_pod(one, obj) for one in requirements)
    if resource == PERSISTENTVOLUMECLAIMS:
        return all(_means_claim(one, obj) for one in requirements)
    return False


def _means_pod(requirement: Object, pod: Object) -> bool:
    scope, spec = requirement.get("scopeName"), pod.get("spec") or {}
    if scope in ("Terminating", "NotTerminating"):
        deadline = spec.get("activeDeadlineSeconds")
        return bool(deadline is not None and deadline >= 0) == bool(scope == "Terminating")
    if scope in ("BestEffort", "NotBestEffort"):
        return (qos_class(spec) == "BestEffort") == bool(scope == "BestEffort")
    if scope == "PriorityClass":
        name = spec.get("priorityClassName")
        return _selects(requirement, {name} if name else set())
    return scope == "CrossNamespacePodAffinity" and any(_crosses(term) for term in _affinity_terms(spec))


def _means_claim(requirement: Object, claim: Object) -> bool:
    return requirement.get("scopeName") == "VolumeAttributesClass" and _selects(
        requirement, attributes_classes_of(claim)
    )


def _selects(requirement: Object, names: set[str]) -> bool:
    operator, values = requirement.get("operator"), set(requirement.get("values") or ())
    if operator == "Exists":
        return bool(names)
    if operator == "DoesNotExist":
        return not names
    return bool(names & values) if operator == "In" else not names & values


def _affinity_terms(spec: Object) -> Iterator[Object]:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def _crosses(term: Object) -> bool:
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None
