"""The priority levels and flow schemas that every API server has (apiserver ``apis/flowcontrol/bootstrap``).

Two of each are mandatory: they are made again whenever they are missing, and their specs are fixed. The others are
suggestions, which an administrator may change or remove.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kontinuum.api.machinery.objects import Object

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
"""The annotation that says whether a spec follows the server's idea of it."""


def _limited(shares: int, lendable: int, queues: int = 0, hand: int = 0) -> Object:
    """A level; without queues it turns away what does not fit."""
    response: Object = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        response = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return {"type": "Limited", "limited": limited}


def _schema(
    level: str,
    precedence: int,
    distinguisher: str,
    subjects: Sequence[Object],
    *rules: Object,
    urls: Sequence[str] = (),
) -> Object:
    """Without rules and URLs a schema speaks of every request of its subjects."""
    resources, paths = list(rules), list(urls)
    rule: Object = {"subjects": list(subjects)}
    if not resources and not paths:
        everything = ("*",)
        resources, paths = [_rule(everything, everything, everything, cluster=True)], ["*"]
    if resources:
        rule["resourceRules"] = resources
    if paths:
        rule["nonResourceRules"] = [{"verbs": ["*"] if paths == ["*"] else ["get"], "nonResourceURLs": paths}]
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return {**spec, "rules": [rule]}


def _rule(verbs: Sequence[str], groups: Sequence[str], resources: Sequence[str], *, cluster: bool = False) -> Object:
    rule: Object = {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}
    if cluster:
        rule["clusterScope"] = True
    return {**rule, "namespaces": ["*"]}


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Object]:
    """Service accounts of kube-system."""
    return [{"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}} for name in names]


_EVERYBODY = _groups("system:unauthenticated", "system:authenticated")
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_LEASES = _rule(("get", "create", "update"), ("coordination.k8s.io",), ("leases",))
_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"

MANDATORY_LEVELS: dict[str, Object] = {
    "catch-all": _limited(5, 0),
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
}
SUGGESTED_LEVELS: dict[str, Object] = {
    "system": _limited(30, 33, queues=64, hand=6),
    "node-high": _limited(40, 25, queues=64, hand=6),
    "leader-election": _limited(10, 0, queues=16, hand=4),
    "workload-high": _limited(40, 50, queues=128, hand=6),
    "workload-low": _limited(100, 90, queues=128, hand=6),
    "global-default": _limited(20, 50, queues=128, hand=6),
}
MANDATORY_SCHEMAS: dict[str, Object] = {
    "exempt": _schema("exempt", 1, "", _groups("system:masters")),
    "catch-all": _schema("catch-all", 10000, _BY_USER, _EVERYBODY),
}
SUGGESTED_SCHEMAS: dict[str, Object] = {
    "system-nodes": _schema("system", 500, _BY_USER, _groups("system:nodes")),
    "system-node-high": _schema(
        "node-high", 400, _BY_USER, _groups("system:nodes"),
        _rule(("*",), ("",), ("nodes", "nodes/status"), cluster=True),
        _rule(("*",), ("coordination.k8s.io",), ("leases",)),
    ),
    "probes": _schema("exempt", 2, "", _EVERYBODY, urls=("/healthz", "/readyz", "/livez")),
    "system-leader-election": _schema(
        "leader-election", 100, _BY_USER, [*_users(_MANAGER, _SCHEDULER), *_accounts("*")], _LEASES
    ),
    "endpoint-controller": _schema(
        "workload-high", 150, _BY_USER,
        [*_users(_MANAGER), *_accounts("endpoint-controller", "endpointslicemirroring-controller")],
        _rule(("get", "create", "update"), ("",), ("endpoints",)),
    ),
    "workload-leader-election": _schema("leader-election", 200, _BY_USER, _accounts("*"), _LEASES),
    "kube-controller-manager": _schema("workload-high", 800, _BY_NAMESPACE, _users(_MANAGER)),
    "kube-scheduler": _schema("workload-high", 800, _BY_NAMESPACE, _users(_SCHEDULER)),
    "kube-system-service-accounts": _schema("workload-high", 900, _BY_NAMESPACE, _accounts("*")),
    "service-accounts": _schema("workload-low", 9000, _BY_USER, _groups("system:serviceaccounts")),
    "global-default": _schema("global-default", 9900, _BY_USER, _EVERYBODY),
}  # fmt: skip


def objects(specs: dict[str, Any]) -> list[Object]:
    """The specs of one of the tables above as objects to be stored."""
    return [
        {"metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec} for name, spec in specs.items()
    ]
