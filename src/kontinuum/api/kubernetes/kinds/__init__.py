"""The served kinds: one file for each family that has something special to say, and one table of all of them."""

from __future__ import annotations

from kontinuum.api.kubernetes.kinds.configuration import ConfigMap, Secret, ServiceAccount
from kontinuum.api.kubernetes.kinds.kind import Kind
from kontinuum.api.kubernetes.kinds.namespace import Namespace
from kontinuum.api.kubernetes.kinds.node import Node
from kontinuum.api.kubernetes.kinds.pod import Pod
from kontinuum.api.kubernetes.kinds.service import Endpoints, Service
from kontinuum.api.kubernetes.kinds.small import Event, Lease, RuntimeClass
from kontinuum.api.kubernetes.kinds.workloads import ControllerRevision, Deployment, ReplicaSet
from kontinuum.api.kubernetes.resources import RESOURCES
from kontinuum.api.machinery.resources import Resource

SPECIAL: dict[str, type[Kind]] = {
    "namespaces": Namespace,
    "pods": Pod,
    "nodes": Node,
    "configmaps": ConfigMap,
    "secrets": Secret,
    "serviceaccounts": ServiceAccount,
    "events": Event,
    "services": Service,
    "endpoints": Endpoints,
    "deployments.apps": Deployment,
    "replicasets.apps": ReplicaSet,
    "controllerrevisions.apps": ControllerRevision,
    "leases.coordination.k8s.io": Lease,
    "runtimeclasses.node.k8s.io": RuntimeClass,
}
"""By qualified resource name; a kind that is not here is as ``Kind`` describes."""

KINDS: dict[Resource, Kind] = {one: SPECIAL.get(one.qualified, Kind)(one) for one in RESOURCES}

_by_path = {(kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS.values()}


def lookup(group: str, version: str, plural: str) -> Kind | None:
    """The kind served under ``/apis/group/version/plural`` (group "" for ``/api``), or None."""
    return _by_path.get((group, version, plural))
