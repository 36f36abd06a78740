"""The tables of this package as objects, complete but for what the server itself gives to a new object. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kontinuum.api.kubernetes.aggregation import aggregated_rules
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.users import ANONYMOUS
from kontinuum.apiserver.authz.defaults import controller_roles, namespaced, own
from kontinuum.apiserver.authz.defaults.cluster_roles import (
    ACCOUNT,
    AGGREGATED,
    AGGREGATED_FROM,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
)  # fmt: skip
from kontinuum.apiserver.authz.defaults.notation import rules

GROUP = "rbac.authorization.k8s.io"
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
"""An annotation; "false" keeps the server from completing the object when it starts."""
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def cluster_roles() -> list[Object]:
    """With the rules of the aggregated ones filled in, so that they mean something before any controller runs."""
    found = [_role(name, text) for name, text in CLUSTER_ROLES.items()]
    found += [_role(name, text, part_of=role) for name, (role, text) in AGGREGATED_FROM.items()]
    found += [_role(f"{controller_roles.PREFIX}{name}", text) for name, text in _controllers()]
    found += [_role(name, text) for name, text in own.OWN_ROLES.items()]
    found += [_role(name, text) for name, text in own.JOINING_ROLES.items()]
    found.append(_role(own.NETWORK, own.NETWORK_ROLE))
    # The smallest first: admin takes in edit, and edit takes in view.
    for name, part_of in reversed(AGGREGATED.items()):
        role = _role(name, "", part_of=part_of)
        label = {"matchLabels": {_aggregate_to(name): "true"}}
        role = {"metadata": role["metadata"], "aggregationRule": {"clusterRoleSelectors": [label]}}
        found.append({**role, "rules": aggregated_rules(role, found)})
    return found


def cluster_role_bindings() -> list[Object]:
    found = [_binding(name, "ClusterRole", name, subjects) for name, subjects in CLUSTER_BINDINGS.items()]
    for name, _ in _controllers():
        role = f"{controller_roles.PREFIX}{name}"
        found.append(_binding(role, "ClusterRole", role, [(ACCOUNT, f"kube-system/{name}")]))
    found.append(_binding(own.NETWORK, "ClusterRole", own.NETWORK, [("User", own.NETWORK_USER)]))
    for name, (role, group) in own.JOINING_BINDINGS.items():
        found.append(_binding(name, "ClusterRole", role, [("Group", group)]))
    for user, bindings in ((own.CONTROLLER_MANAGER, own.OWN_BINDINGS), (own.SCHEDULER, own.SCHEDULER_BINDINGS)):
        found += [_binding(name, "ClusterRole", role, [("User", user)]) for name, role in bindings.items()]
    return found


def roles() -> list[Object]:
    found = [_in(namespace, _role(name, text)) for (namespace, name), text in namespaced.ROLES.items()]
    found.append(_in(namespaced.PUBLIC, _role(own.CLUSTER_INFO, own.CLUSTER_INFO_ROLE)))
    found.append(_in(namespaced.SYSTEM, _role(own.NODE_SETTINGS, own.NODE_SETTINGS_ROLE)))
    return [*found, _in(namespaced.SYSTEM, _role(own.NETWORK, own.DNS_ROLE))]


def role_bindings() -> list[Object]:
    found = [
        _in(namespace, _binding(name, "Role", role, subjects))
        for (namespace, name), (role, subjects) in namespaced.ROLE_BINDINGS.items()
    ]
    network = _binding(own.NETWORK, "Role", own.NETWORK, [("User", own.NETWORK_USER)])
    anybody = _binding(own.CLUSTER_INFO, "Role", own.CLUSTER_INFO, [("User", ANONYMOUS)])
    nodes = _binding(own.NODE_SETTINGS, "Role", own.NODE_SETTINGS, [("Group", "system:nodes")])
    return [
        *found,
        _in(namespaced.PUBLIC, anybody),
        _in(namespaced.SYSTEM, nodes),
        _in(namespaced.SYSTEM, network),
    ]


def _controllers() -> Iterator[tuple[str, str]]:
    yield from controller_roles.CONTROLLER_ROLES.items()


def _aggregate_to(role: str) -> str:
    return f"rbac.authorization.k8s.io/aggregate-to-{role}"


def _metadata(name: str) -> Object:
    return {"name": name, "labels": dict(LABELS), "annotations": {AUTO_UPDATE: "true"}}


def _in(namespace: str, obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


def _role(name: str, text: str, *, part_of: str = "") -> Object:
    metadata = _metadata(name)
    if part_of:
        metadata["labels"][_aggregate_to(part_of)] = "true"
    return {"metadata": metadata, "rules": rules(text)}


def _binding(name: str, kind: str, role: str, subjects: Iterable[tuple[str, str]]) -> Object:
    found: Object = {"metadata": _metadata(name), "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}}
    made = [_subject(kind, who) for kind, who in subjects]
    return {**found, "subjects": made} if made else found


def _subject(kind: str, who: str) -> Object:
    if kind == ACCOUNT:
        namespace, _, name = who.partition("/")
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "apiGroup": GROUP, "name": who}
