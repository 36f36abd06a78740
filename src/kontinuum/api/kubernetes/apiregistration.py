"""APIServices: who answers which group version, and in which order groups are told. Pure.

The numbers are Kubernetes' (``controlplane/apiserver/aggregator.go`` and ``kube-apiserver/app/aggregator.go``); clients
resolve an ambiguous name (``kubectl get events``) in the order that follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kontinuum.api.machinery.conditions import get_condition
from kontinuum.api.machinery.objects import Object

GroupVersion = tuple[str, str]
AVAILABLE = "Available"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
"""Label of the APIServices that the server makes itself."""
ON_START, ALWAYS = "onstart", "true"
"""Its values: built into the server; follows a CustomResourceDefinition."""
SERVICE_PORT = 443


class Priority(NamedTuple):
    """``groupPriorityMinimum`` and ``versionPriority``: higher ones come first."""

    group: int
    version: int


CUSTOM = Priority(1000, 100)
"""Of groups that CustomResourceDefinitions define."""
FIRST = Priority(20_000, 1)
"""Of the group in which the APIServices themselves are: it has none."""
GROUPS = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
    "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500,
    "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
    # As low as the metrics-server's own: "pods" and "nodes" mean the core group's.
    "metrics.k8s.io": 100,
}  # fmt: skip
VERSIONS: dict[GroupVersion, int] = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("metrics.k8s.io", "v1beta1"): 100,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
}
_STABLE = 15


def priority_of(group: str, version: str) -> Priority:
    """Of a group version that this server answers itself."""
    if group == "apiregistration.k8s.io":
        return FIRST
    if group not in GROUPS:
        return CUSTOM
    return Priority(GROUPS[group], VERSIONS.get((group, version), _STABLE))


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha1, anything else by name."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return stage, -int(found[1]), -int(found[3] or 0), ""


def ordered(found: Mapping[GroupVersion, Priority]) -> list[GroupVersion]:
    """Group versions as discovery tells them: groups by their highest priority, then the versions of each."""
    highest: dict[str, int] = {}
    for (group, _), priority in found.items():
        highest[group] = max(highest.get(group, 0), priority.group)
    return sorted(
        found,
        key=lambda one: (-highest[one[0]], one[0], -found[one].version, version_order(one[1])),
    )


def name_of_service(group: str, version: str) -> str:
    """``v1.apps``, and ``v1.`` of the core group."""
    return f"{version}.{group}"


def local_service(group: str, version: str, managed: str) -> Object:
    """The APIService of a group version that this server answers itself, as it would be posted."""
    priority = priority_of(group, version)
    spec: dict[str, Any] = {"groupPriorityMinimum": priority.group, "version": version}
    spec["versionPriority"] = priority.version
    if group:
        spec["group"] = group
    return {"metadata": {"name": name_of_service(group, version), "labels": {MANAGED: managed}}, "spec": spec}


def is_local(api_service: Object) -> bool:
    """Answered by this server itself."""
    return not (api_service.get("spec") or {}).get("service")


def local_condition(now: str) -> Object:
    """``now`` is an RFC 3339 time."""
    return {
        "type": AVAILABLE,
        "status": "True",
        "lastTransitionTime": now,
        "reason": "Local",
        "message": "Local APIServices are always available",
    }


def availability(api_service: Object) -> str:
    """As ``kubectl get apiservices`` shows it: ``True``, ``False (MissingEndpoints)``, ``Unknown``."""
    condition = get_condition(api_service, AVAILABLE)
    if condition is None:
        return "Unknown"
    status = str(condition.get("status"))
    return status if status == "True" or not condition.get("reason") else f"{status} ({condition['reason']})"
